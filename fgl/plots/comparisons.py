"""The figures of a comparison of methods, and of a sweep over settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgl.io import files
from fgl.plots.curves import Line, Write, save_curves

_FIGURES = (("rounds", 0, "communication rounds"), ("bytes", 2, "bytes sent, all clients both ways"))


def save_comparison(
    folder: Path,
    titles: Mapping[str, str],
    found: Mapping[Any, Mapping[str, Any]],
    what: str,
    suffixes: Sequence[str] = (".png", ".svg"),
    stem: str = "accuracy",
    write: Write = files.write,
) -> list[Path]:
    """Accuracy against rounds, and against bytes on a log scale, as files in `folder`, which are returned.

    titles: method → what a reader calls it, in order. found: seed → method → its result (see
    `fgl.core.experiments.comparison`). what: data and seeds, for the title. write: writes a file. Raises StoreError."""
    saved: list[Path] = []
    for name, column, axis in _FIGURES:
        paths = [folder / f"{stem}-{name}{suffix}" for suffix in suffixes]
        save_curves(
            paths,
            _lines(titles, found, column),
            f"Top-1 on real test images: {what}",
            (axis, "top-1"),
            log=name == "bytes",
            write=write,
        )
        saved += paths
    return saved


def save_sweep(
    paths: Sequence[Path], titles: Mapping[str, str], rows: Sequence[Mapping[str, Any]], write: Write = files.write
) -> None:
    """A line a method over the settings. rows: `setting`, and `seeds` as `found` above. Raises StoreError."""
    lines = [
        Line(title, [(index, [one[name]["top1"] for one in row["seeds"].values()]) for index, row in enumerate(rows)])
        for name, title in titles.items()
    ]
    save_curves(
        paths,
        lines,
        "Top-1 on real test images",
        ("setting", "top-1"),
        names=[row["setting"] for row in rows],
        write=write,
    )


def _lines(titles: Mapping[str, str], found: Mapping[Any, Mapping[str, Any]], column: int) -> list[Line]:
    """One line a method. Where seeds differ in bytes, by a header's length, the mean stands for them."""
    lines = []
    for name, title in titles.items():
        curves = [one[name]["curve"] for one in found.values()]
        if not curves[0]:
            lines.append(Line(title, [(0, [one[name]["top1"] for one in found.values()])], level=True))
            continue
        points = []
        for index in range(min(map(len, curves))):
            x = sum(curve[index][column] for curve in curves) / len(curves)
            points.append((x, [curve[index][1] for curve in curves]))
        lines.append(Line(title, points))
    return lines
