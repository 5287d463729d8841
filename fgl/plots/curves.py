"""Lines over rounds, bytes or an option's values, with the spread over seeds."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fgl.io import files
from fgl.plots import MAKER
from fgl.text import plain

# Okabe and Ito (2008): eight colors that any color vision can tell apart. Yellow is too pale for lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*X"
_STYLES = ("-", "--", ":", "-.")
DOTS = 150
"""Per inch."""
Write = Callable[[Path, bytes], None]


@dataclass(frozen=True)
class Line:
    """One method."""

    label: str
    points: Sequence[tuple[float, Sequence[float]]]
    """(x, a value per seed) in order of x; a single point is drawn as a marker."""
    level: bool = False
    """Whether the value holds for every x, as that of a model that no round changes."""


def save_curves(
    paths: Sequence[Path],
    lines: Sequence[Line],
    title: str,
    axes: tuple[str, str],
    log: bool = False,
    names: Sequence[str] = (),
    write: Write = files.write,
) -> None:
    """Draw means with bands of one standard deviation (n - 1). Values are fractions, shown in percent.

    Args:
        paths: The files; their suffixes say how they are drawn.
        lines: The methods.
        title: Above the drawing.
        axes: Names of x and y.
        log: Whether x has a log scale.
        names: Of x = 0, 1, … if x is not a number.
        write: Writes a file.

    Raises StoreError.
    """
    with mpl.rc_context({"svg.hashsalt": "fgl", "svg.fonttype": "none"}):
        save(_draw(lines, title, axes, log, names), paths, write)


def save(figure: Figure, paths: Sequence[Path], write: Write = files.write) -> None:
    """Write a figure to each path, completely or not at all; the suffix says how. Raises StoreError."""
    for path in paths:
        write(path, rendered(figure, path.suffix, DOTS))


def rendered(figure: Figure, suffix: str, dots: int) -> bytes:
    """A figure as the bytes of a file. dots: per inch."""
    buffer, kind = io.BytesIO(), suffix.lower().lstrip(".")
    # no date and no version, so that equal figures are equal files; and the maker, so that fgl may replace it
    metadata = {"Date": None, "Creator": MAKER} if kind == "svg" else {"Software": MAKER}
    figure.savefig(buffer, format=kind, dpi=dots, metadata=metadata)
    return buffer.getvalue()


def _ranked(lines: Sequence[Line]) -> list[tuple[Line, str, int]]:
    """(line, its label, how many earlier lines have the same values): such lines would hide each other."""
    ranked: list[tuple[Line, str, int]] = []
    for line in lines:
        same = [other for other, _, _ in ranked if other.points == line.points and other.level == line.level]
        label = plain(f"{line.label} (the same as {same[0].label})" if same else line.label)
        ranked.append((line, label, len(same)))
    return ranked


def _ring(rank: int) -> dict[str, Any]:
    """A marker that stays visible around those of `rank` equal lines."""
    return {"markersize": 4 + 4 * rank, "fillstyle": "none" if rank else "full"}


def _draw(lines: Sequence[Line], title: str, names: tuple[str, str], log: bool, ticks: Sequence[str]) -> Figure:
    columns = 2 if max(len(line.label) for line in lines) < 34 else 1
    figure = Figure(figsize=(8.0, 4.6 + 0.19 * -(-len(lines) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if log:
        axes.set_xscale("log")
    elif all(float(point[0]).is_integer() for line in lines for point in line.points):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no round 1.5
    for index, (line, label, rank) in enumerate(_ranked(lines)):
        style = _STYLES[rank % len(_STYLES)]
        color, marker = COLORS[index % len(COLORS)], _MARKERS[index % len(_MARKERS)]
        x = [point[0] for point in line.points]
        mean = np.array([float(np.mean(point[1])) for point in line.points])
        std = np.array([float(np.std(point[1], ddof=1)) if len(point[1]) > 1 else 0.0 for point in line.points])
        if line.level:
            axes.axhline(
                mean[0], color=color, linestyle="--", linewidth=1.2 + 2 * rank, label=label, zorder=2 - 0.1 * rank
            )
            axes.axhspan(mean[0] - std[0], mean[0] + std[0], color=color, alpha=0.12, linewidth=0)
        elif len(x) == 1:
            axes.errorbar(
                x, mean, yerr=std, color=color, marker=marker, capsize=3, linestyle="", label=label, **_ring(rank)
            )
        else:
            every = max(1, len(x) // 12)
            axes.plot(
                x,
                mean,
                color=color,
                marker=marker,
                markevery=every,
                linewidth=1.4,
                linestyle=style,
                label=label,
                **_ring(rank),
            )
            axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
    if ticks:
        axes.set_xticks(
            range(len(ticks)), [plain(tick) for tick in ticks], rotation=0 if max(map(len, ticks)) < 9 else 30
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_title(plain(title), fontsize=10)
    axes.grid(color="0.9", linewidth=0.6)
    legend = figure.legend(fontsize=8, loc="outside lower center", frameon=False, ncols=columns)
    for text in (*(axes.get_xticklabels() if ticks else ()), axes.title, *legend.get_texts()):
        text.set_parse_math(False)  # a name with two dollar signs is not a formula
    return figure
