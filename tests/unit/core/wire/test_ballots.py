"""Ballots and votes: each side reads the other's as hostile."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from fgl.core.wire import ballots
from fgl.core.wire.upload import METADATA, checksum
from fgl.errors import UploadError

NAMES = ("cat", "dog")
EXPECTED = ballots.Expected("run 1", 2, 3, NAMES, "space", 4)
UNIT = 2.0**-10
NOISE = ballots.Noise("image", 1.2)


def ballot(**changes: Any) -> ballots.Ballot:
    features = np.arange(16, dtype=np.float32).reshape(4, 4)
    made = ballots.Ballot("run 1", 1, (16, 16), "space", features, np.array([0, 0, 1, 1]))
    return replace(made, **changes)


def rewritten(data: bytes, arrays: dict[str, Any] | None = None, **said: Any) -> bytes:
    """The file with other contents, and a checksum that fits them."""
    length = int.from_bytes(data[:8], "little")
    stated = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA]) | said
    held = dict(load(data)) if arrays is None else arrays
    stated["checksum"] = checksum(stated, held)
    return save(held, {METADATA: json.dumps(stated)})


def test_a_ballot_is_read_as_it_was_written() -> None:
    data = ballots.encode_ballot(ballot(), NAMES)
    found = ballots.read_ballot(data, EXPECTED)
    assert (found.run, found.round, found.size) == ("run 1", 1, (16, 16))
    assert np.array_equal(found.features, ballot().features)
    assert found.class_id.tolist() == [0, 0, 1, 1]
    assert len(found.digest) == 64


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        ({"run": "run 2"}, "replay", "of the run"),
        ({"round": 3}, "replay", "expected 1 to 2"),
        ({"round": True}, "replay", "expected 1 to 2"),
        ({"space": "another"}, "format", "another feature space"),
        ({"classes": "0"}, "classes", "another class list"),
        ({"size": [16, 0]}, "value", "size"),
        ({"version": "2"}, "format", "not a ballot of version 1"),
        ({"more": 1}, "format", "not a ballot"),
        (
            {"arrays": {"features": np.zeros((4, 5), np.float32), "class_id": np.zeros(4, np.int32)}},
            "shape",
            r"\[4, 4\]",
        ),
        ({"arrays": {"features": np.zeros((4, 4)), "class_id": np.zeros(4, np.int32)}}, "shape", "float32"),
        (
            {"arrays": {"features": np.zeros((2, 4), np.float32), "class_id": np.array([1, 0], np.int32)}},
            "classes",
            "ascend",
        ),
        (
            {"arrays": {"features": np.zeros((1, 4), np.float32), "class_id": np.array([2], np.int32)}},
            "classes",
            "ascend",
        ),
        (
            {"arrays": {"features": np.zeros((0, 4), np.float32), "class_id": np.zeros(0, np.int32)}},
            "classes",
            "ascend",
        ),
        ({"arrays": {"features": np.zeros((4, 4), np.float32), "class_id": np.zeros(4, np.int32)}}, "size", "allows 3"),
        (
            {"arrays": {"features": np.full((1, 4), np.nan, np.float32), "class_id": np.zeros(1, np.int32)}},
            "value",
            "finite",
        ),
        ({"arrays": {"features": np.zeros((1, 4), np.float32)}}, "shape", "class_id, features"),
    ],
)
def test_a_ballot_that_breaks_a_rule_is_refused_by_its_name(change: dict[str, Any], rule: str, words: str) -> None:
    data = rewritten(ballots.encode_ballot(ballot(), NAMES), **change)
    with pytest.raises(UploadError, match=words) as refused:
        ballots.read_ballot(data, EXPECTED)
    assert refused.value.rule == rule


def test_what_was_damaged_on_its_way_is_refused() -> None:
    data = bytearray(ballots.encode_ballot(ballot(), NAMES))
    data[-1] ^= 1
    with pytest.raises(UploadError, match="damaged"):
        ballots.read_ballot(bytes(data), EXPECTED)
    with pytest.raises(UploadError):
        ballots.read_ballot(bytes(data[:-3]), EXPECTED)
    with pytest.raises(UploadError, match="the cap"):
        ballots.read_ballot(b"\0" * (ballots.MAX_BALLOT + 1), EXPECTED)


def test_a_vote_is_a_number_a_candidate() -> None:
    asked = ballot(digest="d")
    data = ballots.encode_vote(asked, "north", np.array([1024, 0, -512, 3]), UNIT, NOISE)
    stated = ballots.stated_in(data)
    assert (stated.run, stated.round, stated.client_id, stated.votes.tolist()) == (
        "run 1",
        1,
        "north",
        [1.0, 0.0, -0.5, 3 * UNIT],
    )
    assert ballots.read_vote(data, "north", asked, UNIT, 10, NOISE).tolist() == [1.0, 0.0, -0.5, 3 * UNIT]
    many = ballot(digest="d", class_id=np.zeros(160, dtype=np.int64), features=np.zeros((160, 4), np.float32))
    sizes = [len(ballots.encode_vote(one, "north", np.zeros(len(one), np.int64), UNIT, NOISE)) for one in (many, asked)]
    assert sizes[0] - sizes[1] == 640 - 16


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"run": "run 2"}, "replay"),
        ({"client": "south"}, "sender"),
        ({"ballot": "e"}, "replay"),
        ({"round": 2}, "replay"),
        ({"unit": 1.0}, "format"),
        ({"noise": 2.4}, "noise"),
        ({"noise": 0.0}, "noise"),
        ({"level": "client"}, "noise"),
        ({"level": "row"}, "format"),
        ({"arrays": {"votes": np.zeros(3, np.int32)}}, "shape"),
        ({"arrays": {"votes": np.zeros(4, np.float32)}}, "shape"),
        ({"arrays": {"votes": np.full(4, 2**30, np.int32)}}, "value"),
        ({"arrays": {"votes": np.full(4, -(2**31), np.int32)}}, "value"),
        ({"arrays": {"votes": np.zeros(4, np.int32), "more": np.zeros(1, np.int32)}}, "shape"),
    ],
)
def test_a_vote_that_breaks_a_rule_is_refused_by_its_name(change: dict[str, Any], rule: str) -> None:
    asked = ballot(digest="d")
    data = rewritten(ballots.encode_vote(asked, "north", np.array([1, 0, 2, 3]), UNIT, NOISE), **change)
    with pytest.raises(UploadError) as refused:
        ballots.read_vote(data, "north", asked, UNIT, 100, NOISE)
    assert refused.value.rule == rule


@pytest.mark.parametrize(
    "change",
    [
        {"run": 1},
        {"run": "r" * 101},
        {"round": 0},
        {"round": 1.0},
        {"client": "../north"},
        {"client": None},
        {"unit": 0.0},
        {"unit": "1"},
        {"noise": -1.0},
        {"noise": 1},
        {"level": None},
        {"arrays": {"votes": np.zeros((2, 2), np.int32)}},
        {"arrays": {"votes": np.zeros(0, np.int32)}},
        {"arrays": {"votes": np.zeros(4, np.int64)}},
    ],
)
def test_what_a_vote_says_of_itself_is_read_strictly_too(change: dict[str, Any]) -> None:
    data = rewritten(ballots.encode_vote(ballot(digest="d"), "north", np.array([1, 0, 2, 3]), UNIT, NOISE), **change)
    with pytest.raises(UploadError):
        ballots.stated_in(data)


def test_a_round_that_a_ballot_states_is_a_number() -> None:
    data = ballots.encode_ballot(ballot(), NAMES)
    assert ballots.stated_round(data) == 1
    assert ballots.own_ballot(data).class_id.tolist() == [0, 0, 1, 1]
    for wrong in (0, True, "1"):
        with pytest.raises(UploadError, match="of round"):
            ballots.stated_round(rewritten(data, round=wrong))
