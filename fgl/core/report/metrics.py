"""Scores of predicted classes: numbers that a report shows, and what they have to be read beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from fgl.core.report.intervals import wilson
from fgl.core.report.scores import ChanceLevels, Majority, Score
from fgl.core.report.tables import Table
from fgl.core.store.typed import JsonObject
from fgl.errors import DataError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


class Scores(TypedDict):
    """Of predicted classes; see `measure`."""

    top1: float
    images: int
    balanced_accuracy: float
    macro_f1: float
    per_class: dict[str, float]
    confusion: NotRequired[dict[str, dict[str, int]]]
    per_domain: NotRequired[dict[str, float]]


def measure(predicted: Labels, labels: Labels, class_names: Sequence[str], domains: Sequence[str] | None) -> Scores:
    """top1, per_class and per_domain: fractions of the samples concerned; images: how many there are.

    balanced_accuracy: mean of `per_class`, the recall of each class. macro_f1: mean F1 of those classes, that of a
    class which is never predicted being 0. confusion: true class → predicted class → images, without zeros. Classes
    without test samples are left out of all but what is predicted. Raises DataError where there is no sample."""
    if not len(labels):
        raise DataError("the test split is empty: there is nothing to measure on")
    right = predicted == labels
    counts = confusion(predicted, labels, len(class_names))
    held, predictions, hits = counts.sum(1), counts.sum(0), counts.diagonal()
    tested = np.flatnonzero(held)
    recall = hits[tested] / held[tested]
    f1 = 2 * hits[tested] / (held[tested] + predictions[tested])
    result: Scores = {
        "top1": round(float(right.mean()), 6),
        "images": len(labels),
        "balanced_accuracy": round(float(recall.mean()), 6),
        "macro_f1": round(float(f1.mean()), 6),
        "per_class": {class_names[index]: round(float(recall[at]), 6) for at, index in enumerate(tested.tolist())},
        "confusion": {class_names[index]: _counts(counts[index], class_names) for index in tested.tolist()},
    }
    if domains is not None:
        names = np.asarray(domains)
        result["per_domain"] = {str(name): round(float(right[names == name].mean()), 6) for name in np.unique(names)}
    return result


def _counts(row: Labels, class_names: Sequence[str]) -> dict[str, int]:
    return {class_names[index]: int(row[index]) for index in np.flatnonzero(row).tolist()}


def short(score: Mapping[str, object]) -> JsonObject:
    """Without the confusion matrix: of hundreds of clients, it would be most of a report."""
    return {key: value for key, value in score.items() if key != "confusion"}


def confusion(predicted: Labels, labels: Labels, classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """int64 [classes, classes]: images by true class (rows) and predicted class (columns)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def about(labels: Labels, class_names: Sequence[str]) -> ChanceLevels:
    """What needs no classifier: guessing among all classes, and always predicting the largest class."""
    held = np.bincount(labels, minlength=len(class_names))
    largest = int(held.argmax())
    share = round(float(held[largest] / max(1, len(labels))), 6)
    return ChanceLevels(
        images=len(labels),
        chance=round(1 / len(class_names), 6),
        majority=Majority(class_name=class_names[largest], share=share),
    )


def scale(levels: ChanceLevels) -> str:
    """What top-1 is held against where results stand in a table of other columns."""
    largest = levels.majority
    return (
        f"To hold top-1 against: guessing among all classes gives {levels.chance:.1%}, always the largest class "
        f"of the test set ({plain(largest.class_name, 60)}) {largest.share:.1%}."
    )


def mean_of(scores: Sequence[JsonObject]) -> Scores:
    """The mean over several models of what `measure` found for each, on the same images."""

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 6)

    classes = scores[0]["per_class"]
    return {
        "top1": mean([score["top1"] for score in scores]),
        "balanced_accuracy": mean([score["balanced_accuracy"] for score in scores]),
        "macro_f1": mean([score["macro_f1"] for score in scores]),
        "images": scores[0]["images"],
        "per_class": {name: mean([score["per_class"][name] for score in scores]) for name in classes},
    }


def line(score: Score) -> str:
    """Beside top-1, for the terminal."""
    bounds = wilson(round(score.top1 * score.images), score.images)
    return (
        f"top-1 from {bounds.low:.1%} to {bounds.high:.1%} (95 % interval, as far as {score.images:,} images tell), "
        f"balanced accuracy {score.balanced_accuracy:.1%} (mean recall of the classes), macro F1 {score.macro_f1:.3f}"
    )


def verdict(score: Score) -> str:
    """What is to be said of a model that learnt nothing, "" of others.

    By balanced accuracy: always saying the largest class may well be 84 % of the images, and is a guess. Within two
    standard errors of a guess on so many images, it is one."""
    guess, reached = 1 / len(score.per_class), score.balanced_accuracy
    tested = [sum(predicted.values()) for predicted in (score.confusion or {}).values()]
    variance = guess * (1 - guess) * sum(1 / count for count in tested) / max(1, len(tested)) ** 2
    if reached > guess + 2 * math.sqrt(variance) + 1e-6:  # both are rounded somewhere
        return ""
    return (
        f"This model is no better than a guess: balanced accuracy {reached:.1%} on {score.images:,} images, and "
        f"{guess:.1%} for any one class always. The generator may not know this domain, or the training was too short: "
        "fgl probe tells, and docs/unknown-domain.md says what to do then."
    )


def selection_caution(images: int, selected: float, last: float) -> str:
    """A warning where the epoch was selected on too few images, or on images unlike real ones; "" elsewhere.

    images: synthetic ones that it was selected by. selected, last: top-1 of that epoch and of the last one."""
    if not images or abs(selected - last) <= _SELECTION_GAP:
        return ""
    return (
        f"The selected epoch has {selected:.1%} where the last one has {last:.1%}: it was selected on {images:,} "
        "synthetic images, which are too few for that or unlike real ones. Neither figure is to be trusted by itself; "
        "synthesis.validation_fraction=0 trains on all images and takes the last epoch."
    )


def section(score: Score) -> list[str]:
    """Lines of report.md: the recall of each class and what else its images were taken for."""
    classes, confused = list(score.per_class), score.confusion or {}
    rows = []
    for name in classes:
        predicted = confused[name]
        wrong = sorted(((count, other) for other, count in predicted.items() if other != name), reverse=True)[:3]
        others = ", ".join(f"{other} ({count:,})" for count, other in wrong)
        rows.append((name, f"{sum(predicted.values()):,}", f"{score.per_class[name]:.1%}", others))
    lines = [
        "",
        f"Top-1 {score.top1:.1%}; {line(score)}.",
        "",
        *Table(("class", "images", "top-1 (recall)", "most often taken for"), rows, "lrrl").markdown(),
    ]
    if len(classes) > _MATRIX:
        return [*lines, "", "The confusion matrix is in report.json."]
    columns = list(dict.fromkeys([*classes, *(other for predicted in confused.values() for other in predicted)]))
    cells = [(name, *(f"{confused[name].get(column, 0):,}" for column in columns)) for name in classes]
    lines += ["", "Confusion matrix: one true class a row, predicted classes in the columns, images.", ""]
    return [*lines, *Table(("", *columns), cells).markdown()]


def domains_section(score: Score) -> list[str]:
    """Lines of report.md; none where there are no domains."""
    if not score.per_domain:
        return []
    rows = [(name, f"{value:.1%}") for name, value in score.per_domain.items()]
    return ["", "## Top-1 by domain", "", *Table(("domain", "top-1"), rows).markdown()]


_SELECTION_GAP = 0.1
"""Difference of top-1 between the selected and the last epoch from which the selection is doubted."""
_MATRIX = 20
"""Classes up to which report.md shows a confusion matrix."""
