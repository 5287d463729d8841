"""report.json as types, and the page that is made from them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fgl.core.report.scores import ChanceLevels, Score
from fgl.core.store.typed import JsonObject, from_json, json_field, json_rest, to_json
from tools import report_page


def test_the_page_is_what_the_types_give() -> None:
    assert report_page.PAGE.read_text(encoding="utf-8") == report_page.page(), "run python tools/report_page.py"


def test_every_key_is_described() -> None:
    for line in report_page.page().splitlines():
        assert not line.endswith("|  |"), line


SCORE = {"top1": 0.5, "images": 4, "balanced_accuracy": 0.5, "macro_f1": 0.4, "per_class": {"cat": 1.0, "dog": 0.0}}
LEVELS = {"images": 4, "chance": 0.5, "majority": {"class": "cat", "share": 0.75}}


def test_a_key_that_is_no_name_in_python_and_one_that_is_left_out() -> None:
    levels = from_json(ChanceLevels, LEVELS, strict=True)
    assert levels.majority.class_name == "cat"
    assert levels.best_guess == 0.75
    assert to_json(levels) == LEVELS
    score = from_json(Score, SCORE, strict=True)
    assert score.confusion is None
    assert to_json(score) == SCORE, "no confusion matrix, no key"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top2": 0.7}, "top2: no such key"),
        ({"images": "4"}, "score.images: expected int"),
        ({"images": 4.5}, "score.images: expected int"),
        ({"top1": True}, "score.top1: expected float"),
        ({"per_class": {"cat": "all"}}, "score.per_class.cat: expected float"),
        ({"per_class": [1.0]}, "score.per_class: expected dict"),
    ],
)
def test_what_is_not_of_the_schema_is_refused(change: JsonObject, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_json(Score, {**SCORE, **change}, strict=True, where="score")


def test_a_key_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="images is missing"):
        from_json(Score, {key: value for key, value in SCORE.items() if key != "images"})


def test_unknown_keys_are_left_out_unless_asked_for() -> None:
    assert from_json(Score, {**SCORE, "top2": 0.7}) == from_json(Score, SCORE)


@dataclass(frozen=True)
class Described:
    name: str
    commit: str | None
    part: str | None = json_field(omit_none=True)
    details: JsonObject = json_rest()


def test_what_only_a_plugin_knows_is_kept() -> None:
    value = {"name": "x", "commit": None, "pooling": "mean", "size": [1, 2]}
    described = from_json(Described, value, strict=True)
    assert described.details == {"pooling": "mean", "size": [1, 2]}
    assert to_json(described) == value
