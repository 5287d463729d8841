"""What clients say of their own images is taken for hostile until it has passed every rule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fgl.core.data import halves
from fgl.core.experiments import probe
from fgl.core.stages import federated_evaluation
from fgl.core.store.typed import to_json
from fgl.core.wire import replies
from fgl.errors import UploadError

CLASSES = ("river", "forest", "lake")
CLAIMED = [10.0, 5.0, 0.0]


def reply(**changes: Any) -> bytes:
    said = {"client_id": "k", "right": 9, "total": 15, "per_class": {"river": [6, 10], "forest": [3, 5]}}
    return json.dumps({**said, **changes}).encode()


def judge(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = to_json(replies.validate_counts(data, "k", CLASSES, True, CLAIMED))
    return found


def test_counts_that_can_be_true_are_taken_as_they_are() -> None:
    assert judge(reply()) == {"right": 9, "total": 15, "per_class": {"river": [6, 10], "forest": [3, 5]}}
    assert judge(reply(per_class={})) == {"right": 9, "total": 15, "per_class": {}}


LIES: dict[str, tuple[Any, str]] = {
    "more right than there are": ({"right": 16}, "value"),
    "fewer than none": ({"right": -1}, "value"),
    "a fraction": ({"right": 9.0}, "value"),
    "a truth value": ({"right": True}, "value"),
    "text": ({"total": "15"}, "value"),
    "nothing": ({"total": None}, "value"),
    "no image": ({"right": 0, "total": 0, "per_class": {}}, "value"),
    "more images than its upload stands for": ({"total": 16}, "value"),
    "a number of four thousand digits": ({"total": 10**4000}, "value"),
    "another client": ({"client_id": "other"}, "sender"),
    "a class that is not on the list": ({"per_class": {"sea": [1, 1]}}, "classes"),
    "a list of classes": ({"per_class": [[1, 1]]}, "classes"),
    "three numbers of a class": ({"per_class": {"river": [1, 2, 3]}}, "value"),
    "more of a class than its upload stands for": ({"per_class": {"lake": [0, 1]}}, "value"),
    "more right by class than in all": ({"right": 8}, "value"),
    "more by class than in all": ({"right": 9, "total": 14}, "value"),
    "more wrong by class than in all": ({"right": 12}, "value"),
    "a key too many": ({"name": "ward 7"}, "format"),
}


@pytest.mark.parametrize("lie", LIES)
def test_counts_that_cannot_be_true_are_refused(lie: str) -> None:
    changes, rule = LIES[lie]
    with pytest.raises(UploadError) as caught:
        judge(reply(**changes))
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"client_id": "k"}',
        b" " * 2_000_000,
        reply() + b"x",
        b'{"client_id": "k", "right": 1, "right": 2, "total": 3, "per_class": {}}',
        b'{"client_id": "k", "right": NaN, "total": 3, "per_class": {}}',
        b"[" * 100_000,
        b'{"client_id":' + b"[" * 100_000,
        b'{"client_id": "k", "total": 3, "per_class": {}, "right": ' + b"9" * 100_000 + b"}",
    ],
    ids=range(13),
)
def test_bytes_that_are_no_reply_are_refused(data: bytes) -> None:
    for judged in (judge, lambda data: replies.validate_scores(data, "k", CLASSES, 20)):
        with pytest.raises(UploadError):
            judged(data)


def test_any_bytes_are_a_reply_or_refused() -> None:
    """Nothing but UploadError may come of a sender's bytes."""
    draw = np.random.default_rng(0)
    for _ in range(3000):
        data = bytearray(reply() if draw.random() < 0.5 else scores())
        for _ in range(int(draw.integers(1, 6))):
            data[int(draw.integers(len(data)))] = int(draw.integers(256))
        for judged in (judge, lambda data: replies.validate_scores(data, "k", CLASSES, 20)):
            try:
                judged(bytes(data))
            except UploadError:
                continue


def test_a_message_does_not_repeat_what_a_terminal_would_obey() -> None:
    with pytest.raises(UploadError) as caught:
        judge(reply(client_id="\x1b[2J"))
    assert "\x1b" not in str(caught.value)


def test_counts_of_clients_add_up() -> None:
    counts = {
        "a": replies.ImageCounts(right=3, total=4, per_class={"river": (3, 4)}),
        "b": replies.ImageCounts(right=1, total=6, per_class={"river": (0, 1), "forest": (1, 5)}),
        "c": replies.ImageCounts(right=5, total=5, per_class={}),
    }
    found = federated_evaluation.added_up(counts, CLASSES)
    assert (found["right"], found["total"], found["top1"]) == (9, 15, 0.6)
    assert found["per_class"] == {
        "river": {"right": 3, "total": 5, "top1": 0.6},
        "forest": {"right": 1, "total": 5, "top1": 0.2},
    }


ONE = {"density": 0.5, "coverage": 0.75, "agreement": None, "nearest": 12.5}


def scores(**changes: Any) -> bytes:
    said = {
        "client_id": "k",
        "reference": 20,
        "compared": 18,
        "made": ONE,
        "real": ONE,
        "recognized": 0.5,
        "per_class": {"river": {"made": ONE, "real": ONE}},
    }
    return json.dumps({**said, **changes}).encode()


def test_scores_that_can_be_true_are_taken() -> None:
    found = replies.validate_scores(scores(), "k", CLASSES, 20)
    assert to_json(found.made) == ONE
    assert set(found.per_class) == {"river"}


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": 0},
        {"reference": 61},
        {"reference": 2.0},
        {"compared": -1},
        {"recognized": 1.01},
        {"recognized": math.inf},
        {"recognized": True},
        {"made": {**ONE, "coverage": 1.5}},
        {"made": None},
        {"made": {**ONE, "density": -0.1}},
        {"made": {**ONE, "nearest": 10**4000}},
        {"real": {"coverage": 1}},
        {"made": {**ONE, "name": "ward 7"}},
        {"per_class": {"sea": {"made": ONE, "real": ONE}}},
        {"per_class": {"river": ONE}},
        {"client_id": "other"},
        {"more": 1},
    ],
    ids=str,
)
def test_scores_that_cannot_be_true_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UploadError):
        replies.validate_scores(scores(**changes), "k", CLASSES, 20)


def test_a_client_without_a_score_counts_for_nothing_in_the_mean() -> None:
    def one(count: int, coverage: float | None) -> replies.ProbeScores:
        real = replies.ImageScores(**ONE)
        made = replace(real, coverage=coverage)
        return replies.ProbeScores(reference=count, compared=count, made=made, real=real, recognized=None, per_class={})

    mean = probe.mean_scores({"a": one(10, 0.2), "b": one(30, 0.6), "c": one(1000, None)})
    assert mean.made.coverage == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)
    assert mean.recognized is None
    assert mean.reference == 1040


def test_halves_divide_every_class_and_share_nothing() -> None:
    labels = np.array([0] * 7 + [1] * 4 + [2], dtype=np.int64)
    first, second = halves(labels, 5)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(12))
    assert [int((labels[first] == one).sum()) for one in range(3)] == [3, 2, 0]
    assert (halves(labels, 5)[0] == first).all()
    assert any((halves(labels, seed)[0] != first).any() for seed in range(6, 12))
