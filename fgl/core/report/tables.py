"""Tables and figures as text, for Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fgl import text
from fgl.text import markdown as md

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from fgl.core.report.figures import Figures

FIGURES = (
    ("coverage", "{:.3f}"),
    ("density", "{:.3f}"),
    ("precision", "{:.3f}"),
    ("recall", "{:.3f}"),
    ("kid", "{:.4g}"),
    ("fid", "{:.4g}"),
)
Row = list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows, shown in Markdown or on a terminal. A cell may be any text: it is made safe where it is shown.

    Example:
        >>> print("\\n".join(Table(("class", "images"), [("cat", "12"), ("horse", "7")]).lines()))
        class  images
        cat        12
        horse       7
    """

    columns: Sequence[str]
    """Headings; an empty one where a column needs none."""
    rows: Sequence[Sequence[object]]
    """Each with a cell a column."""
    alignment: str = ""
    """"l" or "r" a column. Empty: the first column to the left, the others to the right."""
    title: str = ""
    """Shown above the table on a terminal."""

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} | {len(self.columns)} | ({len(self.alignment)} - {0})
        if len(widths) > 1:
            raise ValueError(f"a table of {len(self.columns)} columns has rows or an alignment of {sorted(widths)}")

    def markdown(self) -> list[str]:
        """Lines of Markdown."""
        rules = "|".join("---:" if side == "right" else "---" for side in self._sides())
        return [_row(self.columns), f"|{rules}|", *map(_row, self.rows)]

    def lines(self, indent: int = 0) -> list[str]:
        """Lines of text whose columns are two spaces apart, without rules, as wide as they have to be: for a terminal
        or a pipe. A table without any heading shows its rows alone."""
        import io

        from rich.console import Console

        bare = self.rich(title=False)
        bare.box, bare.show_edge, bare.pad_edge, bare.padding = None, False, False, (0, 2, 0, 0)
        bare.show_header = any(self.columns)
        shown = io.StringIO()  # a console that captures writes nothing to stdout, and fails where stdout is full
        console = Console(
            file=shown, width=_UNBOUNDED, color_system=None, no_color=True, legacy_windows=False, _environ={}
        )
        console.print(bare, soft_wrap=True)
        return [" " * indent + line.rstrip() for line in shown.getvalue().splitlines()]

    def rich(self, title: bool = True) -> RichTable:
        """For `rich.console.Console.print`. title: whether to show it."""
        from rich.table import Table as RichTable
        from rich.text import Text

        made = RichTable(title=Text(text.plain(self.title)) if title and self.title else None, title_justify="left")
        for name, side in zip(self.columns, self._sides(), strict=True):
            made.add_column(Text(text.plain(name)), justify=side)
        for row in self.rows:
            made.add_row(*(Text(text.plain(cell)) for cell in row))
        return made

    def _sides(self) -> list[Literal["left", "right"]]:
        sides = self.alignment or "l" + "r" * (len(self.columns) - 1)
        return ["right" if side == "r" else "left" for side in sides]


_UNBOUNDED = 100_000
"""Columns of a terminal that cuts nothing."""


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(text.markdown_cell, cells))} |"


def figure(figures: Figures, name: str) -> str:
    """A figure by its name, with its standard error where it has one."""
    value = figures.of(name)
    if value is None:
        return "–"
    error = figures.kid_se if name == "kid" else None
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
