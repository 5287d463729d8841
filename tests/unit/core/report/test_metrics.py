"""Scores of predicted classes, against scikit-learn's definitions worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fgl.contracts.arrays import Labels
from fgl.core.report.guess import useless_start
from fgl.core.report.metrics import about, mean_of, measure, section, selection_caution, verdict
from fgl.core.report.results import guesses
from fgl.core.report.scores import Score
from fgl.core.store.typed import from_json, to_json
from fgl.errors import DataError

NAMES = ("cat", "dog", "a|b", "unseen")
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 0, 0, 1, 3, 1, 0, 0, 0])


def _score(predicted: Labels, labels: Labels, names: Sequence[str]) -> Score:
    return from_json(Score, measure(predicted, labels, names, None))


def test_balanced_accuracy_and_f1_are_means_over_the_classes_that_were_tested() -> None:
    score = measure(PREDICTED, LABELS, NAMES, None)
    assert score["top1"] == 0.5
    assert score["per_class"] == {"cat": pytest.approx(4 / 6, abs=1e-6), "dog": 0.5, "a|b": 0.0}
    assert score["balanced_accuracy"] == pytest.approx((4 / 6 + 0.5 + 0) / 3, abs=1e-6)
    # F1 = 2 TP / (2 TP + FP + FN)
    assert score["macro_f1"] == pytest.approx((8 / (8 + 3 + 2) + 2 / (2 + 1 + 1) + 0) / 3, abs=1e-6)


def test_the_confusion_matrix_counts_every_image_once() -> None:
    score = measure(PREDICTED, LABELS, NAMES, None)
    assert score["confusion"] == {
        "cat": {"cat": 4, "dog": 1, "unseen": 1},
        "dog": {"cat": 1, "dog": 1},
        "a|b": {"cat": 2},
    }
    assert sum(sum(said.values()) for said in score["confusion"].values()) == score["images"] == 10


def test_domains_are_scored_apart() -> None:
    score = measure(PREDICTED, LABELS, NAMES, ["x"] * 6 + ["y"] * 4)
    assert score["per_domain"] == {"x": pytest.approx(4 / 6, abs=1e-6), "y": 0.25}


def test_no_test_image_is_an_error() -> None:
    with pytest.raises(DataError, match="empty"):
        measure(LABELS[:0], LABELS[:0], NAMES, None)


def test_a_result_stands_beside_guessing_and_the_largest_class() -> None:
    found = about(LABELS, NAMES)
    assert to_json(found) == {"images": 10, "chance": 0.25, "majority": {"class": "cat", "share": 0.6}}
    rows = guesses(found)
    assert [row.top1 for row in rows] == [0.25, 0.6]
    assert rows[1].note == "cat"


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 1, 2], [2, 2, 2, 2, 2, 1, 0]])
def test_a_model_that_always_says_one_class_is_no_better_than_a_guess(labels: list[int]) -> None:
    held = np.array(labels)
    largest = np.full_like(held, np.bincount(held).argmax())
    found = about(held, NAMES[:3])
    assert "no better than a guess" in useless_start(found, measure(largest, held, NAMES[:3], None)["top1"])
    assert useless_start(found, found.majority.share + 0.01) == ""
    assert "no better than a guess" in verdict(_score(largest, held, NAMES[:3]))


def test_a_model_that_knows_a_small_class_is_better_than_a_guess_below_the_share_of_the_largest() -> None:
    held, said = np.array([0] * 8 + [1, 2]), np.array([0, 0, 0, 0, 1, 1, 2, 2, 1, 2])
    score = _score(said, held, NAMES[:3])
    assert score.top1 < 0.8
    assert verdict(score) == ""


def test_the_report_says_of_each_class_what_it_is_taken_for() -> None:
    text = "\n".join(section(_score(PREDICTED, LABELS, NAMES)))
    assert "balanced accuracy 38.9 %" in text.replace("%", " %").replace("  ", " ")
    assert "| cat | 6 | 66.7% | unseen (1), dog (1) |" in text
    assert "| a\\|b | 2 | 0.0% | cat (2) |" in text
    assert "|  | cat | dog | a\\|b | unseen |" in text
    assert "| cat | 4 | 1 | 0 | 1 |" in text


def test_a_matrix_of_many_classes_stays_in_the_json() -> None:
    labels = np.arange(30)
    text = "\n".join(section(_score(labels, labels, [str(label) for label in labels])))
    assert "report.json" in text
    assert "Confusion matrix" not in text


def test_scores_of_several_models_are_averaged() -> None:
    one, other = (measure(predicted, LABELS, NAMES, None) for predicted in (PREDICTED, LABELS))
    mean = mean_of([one, other])
    assert mean["top1"] == 0.75
    assert mean["per_class"]["dog"] == 0.75
    assert mean["balanced_accuracy"] == pytest.approx((one["balanced_accuracy"] + 1) / 2, abs=1e-6)


def test_an_interval_stands_beside_top1_and_few_images_make_a_small_lead_a_guess() -> None:
    labels = np.repeat(np.arange(3), 4)
    lucky = np.where(np.arange(12) % 4 < 2, labels, (labels + 1) % 3)  # 6 of 12, where a guess gives 4
    score = _score(lucky, labels, NAMES[:3])
    assert score.top1 == 0.5
    assert "no better than a guess" in verdict(score)
    text = "\n".join(section(score))
    assert "top-1 from 25.4% to 74.6% (95 % interval, as far as 12 images tell)" in text
    many = _score(np.tile(lucky, 50), np.tile(labels, 50), NAMES[:3])
    assert many.top1 == 0.5
    assert verdict(many) == ""


def test_a_selected_epoch_far_from_the_last_is_doubted() -> None:
    assert "selected on 12 synthetic images" in selection_caution(12, 0.033, 0.336)
    assert selection_caution(12, 0.33, 0.336) == ""
    assert selection_caution(0, 0.033, 0.336) == "", "nothing was selected"
