"""Scores of predicted classes: numbers that a report shows, and what they have to be read beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from fgl.errors import DataError
from fgl.text import markdown, plain

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
    held, said, hits = counts.sum(1), counts.sum(0), counts.diagonal()
    tested = np.flatnonzero(held)
    recall = hits[tested] / held[tested]
    f1 = 2 * hits[tested] / (held[tested] + said[tested])
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


def short(score: Mapping[str, Any]) -> dict[str, Any]:
    """Without the confusion matrix: of hundreds of clients, it would be most of a report."""
    return {key: value for key, value in score.items() if key != "confusion"}


def confusion(predicted: Labels, labels: Labels, classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """int64 [classes, classes]: images by true class (rows) and predicted class (columns)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def about(labels: Labels, class_names: Sequence[str]) -> dict[str, Any]:
    """What needs no classifier: top-1 of guessing among all classes (`chance`) and of always saying the largest class
    of the test set (`majority`), as fractions."""
    held = np.bincount(labels, minlength=len(class_names))
    largest = int(held.argmax())
    return {
        "images": len(labels),
        "chance": round(1 / len(class_names), 6),
        "majority": {"class": class_names[largest], "share": round(float(held[largest] / max(1, len(labels))), 6)},
    }


def scale(about_it: Mapping[str, Any]) -> str:
    """What top-1 is held against where results stand in a table of other columns. about_it: see `about`."""
    largest = about_it["majority"]
    return (
        f"To hold top-1 against: guessing among all classes gives {about_it['chance']:.1%}, always the largest class "
        f"of the test set ({plain(largest['class'], 60)}) {largest['share']:.1%}."
    )


def mean_of(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over several models of what `measure` found for each, on the same images."""

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 6)

    shares = {name: mean([one[name] for one in scores]) for name in ("top1", "balanced_accuracy", "macro_f1")}
    classes = scores[0]["per_class"]
    return {
        **shares,
        "images": scores[0]["images"],
        "per_class": {name: mean([one["per_class"][name] for one in scores]) for name in classes},
    }


def reference_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of results for what needs no classifier, from the result's `test_set`."""
    about_it = result["test_set"]
    largest = about_it["majority"]
    both = (
        ("guessing among all classes (chance)", about_it["chance"], ""),
        ("always the largest class of the test set", largest["share"], plain(largest["class"], 60)),
    )
    return [
        {"title": title, "top1": share, "last": share, "bytes": 0, "seconds": 0.0, "note": note}
        for title, share, note in both
    ]


def line(score: Mapping[str, Any]) -> str:
    """Beside top-1, for the terminal."""
    return (
        f"balanced accuracy {score['balanced_accuracy']:.1%} (mean recall of the classes), macro F1 "
        f"{score['macro_f1']:.3f}"
    )


def verdict(score: Mapping[str, Any]) -> str:
    """What is to be said of a model that learnt nothing, "" of others. score: see `measure`.

    By balanced accuracy: always saying the largest class may well be 84 % of the images, and is a guess."""
    guess, reached = 1 / len(score["per_class"]), score["balanced_accuracy"]
    if reached > guess + 1e-6:  # both are rounded somewhere
        return ""
    return (
        f"This model is no better than a guess: balanced accuracy {reached:.1%}, and {guess:.1%} for any one class "
        "always. The generator may not know this domain, or the training was too short: fgl probe tells, and "
        "docs/quality.md says what to do then."
    )


def section(score: Mapping[str, Any]) -> list[str]:
    """Lines of report.md: the recall of each class and what else was said of its images."""
    classes, table = list(score["per_class"]), score["confusion"]
    lines = [
        "",
        f"Top-1 {score['top1']:.1%}, {line(score)}, on {score['images']:,} images.",
        "",
        "| class | images | top-1 (recall) | most often taken for |",
        "|---|---|---|---|",
    ]
    for name in classes:
        said = table[name]
        wrong = sorted(((count, other) for other, count in said.items() if other != name), reverse=True)[:3]
        others = ", ".join(f"{markdown(other)} ({count:,})" for count, other in wrong)
        lines.append(f"| {markdown(name)} | {sum(said.values()):,} | {score['per_class'][name]:.1%} | {others} |")
    if len(classes) > _MATRIX:
        return [*lines, "", "The confusion matrix is in report.json."]
    columns = list(dict.fromkeys([*classes, *(other for said in table.values() for other in said)]))
    lines += ["", "Confusion matrix: one true class a row, predicted classes in the columns, images.", ""]
    lines += ["| | " + " | ".join(map(markdown, columns)) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in classes:
        cells = " | ".join(f"{table[name].get(column, 0):,}" for column in columns)
        lines.append(f"| {markdown(name)} | {cells} |")
    return lines


_MATRIX = 20
"""Classes up to which report.md shows a confusion matrix."""
