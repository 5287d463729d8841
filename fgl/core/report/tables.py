"""Tables and figures as text, for Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fgl import text
from fgl.text import markdown as md

FIGURES = (
    ("coverage", "{:.3f}"),
    ("density", "{:.3f}"),
    ("precision", "{:.3f}"),
    ("recall", "{:.3f}"),
    ("kid", "{:.4g}"),
    ("fid", "{:.4g}"),
)
Row = list[str]


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown; the first row is the header."""
    lines = ["| " + " | ".join(md(cell) for cell in row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def plain(rows: Sequence[Row]) -> list[str]:
    """Columns for a terminal; the first one is left-aligned."""
    rows = [[text.plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
    return lines


def figure(one: Mapping[str, Any], name: str) -> str:
    value = one[name]
    if value is None:
        return "–"
    error = one["kid_se"] if name == "kid" else None
    return dict(FIGURES)[name].format(value) if error is None else with_error(value, error)


def with_error(value: float, error: float) -> str:
    """A value and its standard error to the same place, that of the error's second digit: `690 ± 150`, `0.078 ± 0.028`;
    no more than 1e15 or less than 1e-9 is written out."""
    if error <= 0 or not (1e-9 < error < 1e15 and abs(value) < 1e15):
        return f"{value:.4g} ± {error:.2g}"
    places = 1 - math.floor(math.log10(error))
    if places > 0:
        return f"{value:.{places}f} ± {error:.{places}f}"
    return f"{round(value, places):,.0f} ± {round(error, places):,.0f}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def paragraphs(lines: Sequence[str]) -> list[str]:
    """Markdown of lines of plain text, an empty one after each."""
    return [part for line in lines for part in (md(line), "")]
