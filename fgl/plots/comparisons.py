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
    results: Mapping[Any, Mapping[str, Any]],
    what: str,
    suffixes: Sequence[str] = (".png", ".svg"),
    stem: str = "accuracy",
    write: Write = files.write,
) -> list[Path]:
    """Draw accuracy against rounds, and against bytes on a log scale; returns the files.

    Args:
        folder: Where the files go.
        titles: Method → what a reader calls it, in order.
        results: Seed → method → its result; see `fgl.core.experiments.comparison`.
        what: Data and seeds, for the title.
        suffixes: Of the files, which say how they are drawn.
        stem: What the names of the files begin with.
        write: Writes a file.

    Raises StoreError.
    """
    saved: list[Path] = []
    for name, column, axis in _FIGURES:
        paths = [folder / f"{stem}-{name}{suffix}" for suffix in suffixes]
        save_curves(
            paths,
            _lines(titles, results, column),
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
    """Draw a line per method over the settings.

    Args:
        paths: The files; their suffixes say how they are drawn.
        titles: Method → what a reader calls it, in order.
        rows: Of each setting its name `setting`, and `seeds`: results as in `save_comparison`.
        write: Writes a file.

    Raises StoreError.
    """
    lines = [
        Line(
            title,
            [(index, [of_seed[name]["top1"] for of_seed in row["seeds"].values()]) for index, row in enumerate(rows)],
        )
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


def _lines(titles: Mapping[str, str], results: Mapping[Any, Mapping[str, Any]], column: int) -> list[Line]:
    """One line per method. If seeds differ in bytes, by the length of a header, their mean is drawn."""
    lines = []
    for name, title in titles.items():
        curves = [of_seed[name]["curve"] for of_seed in results.values()]
        if not curves[0]:
            lines.append(Line(title, [(0, [of_seed[name]["top1"] for of_seed in results.values()])], level=True))
            continue
        points = []
        for index in range(min(map(len, curves))):
            x = sum(curve[index][column] for curve in curves) / len(curves)
            points.append((x, [curve[index][1] for curve in curves]))
        lines.append(Line(title, points))
    return lines
