"""A table of counts as a heat map."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fgl.io import files
from fgl.plots.curves import rendered
from fgl.text import plain

# One hue from light to dark reads the same with any color vision and in print. It begins where a count of one still
# differs from none, which is white.
COLORS = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.2, 1.0, 256)))
# Class names come in any script; letters that the first font lacks are taken from the next.
FONTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Arial Unicode MS")
_POINTS = 72  # per inch
_LETTER = 0.085  # inches, the usual width of a letter in a label
_LARGEST = 200.0  # inches per side: beyond 2^16 pixels matplotlib draws nothing
_DOTS = 120  # per inch


def save_heatmap(
    path: Path,
    counts: NDArray[np.int64],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    axes: tuple[str, str],
) -> bool:
    """Draw counts[row, column]. The figure grows with the table, so that names stay readable; counts are written into
    the cells if these are wide enough. Equal tables are equal files.

    Args:
        path: The file; its suffix, .png or .svg, says how it is drawn.
        counts: [rows, columns].
        rows: Names of the rows.
        columns: Names of the columns.
        title: Above the drawing.
        axes: What the rows are, and what the columns are.

    Returns whether every letter could be drawn. Raises StoreError if the file cannot be written.
    """
    installed = set(font_manager.get_font_names())
    style: dict[Any, Any] = {  # matplotlib's own type for it names three hundred keys
        "font.family": [name for name in FONTS if name in installed] or ["sans-serif"],
        "svg.fonttype": "none",  # names stay text, in whatever font the viewer has for their script
        "svg.hashsalt": "fgl",
    }
    vector = path.suffix.lower() == ".svg"
    with mpl.rc_context(style), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files.write(path, rendered(_draw(counts, rows, columns, title, axes), path.suffix, _DOTS))
    return vector or not any("Glyph" in str(warning.message) for warning in caught)


def _draw(
    counts: NDArray[np.int64], rows: Sequence[str], columns: Sequence[str], title: str, names: tuple[str, str]
) -> Figure:
    rows, columns, title = [plain(name) for name in rows], [plain(name) for name in columns], plain(title)
    largest = int(counts.max(initial=0))
    digits = len(str(largest))
    # Cells are wide enough for the largest count, as long as the figure fits on a page.
    width, height = (max(0.085 * digits + 0.1, 0.3) if len(columns) <= 60 else 0.2), 0.26
    width, height = min(width, _LARGEST / len(columns)), min(height, _LARGEST / len(rows))
    beside = _LETTER * max(len(name) for name in rows) + 1.6
    below = _LETTER * max(len(name) for name in columns) + 0.9
    size = (max(width * len(columns) + beside, _LETTER * len(title) + 0.5), height * len(rows) + below)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = np.ma.masked_equal(counts, 0)
    image = axes.imshow(shown, cmap=COLORS, vmin=1, vmax=max(largest, 2), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.set_ylabel(names[0], fontsize=9)
    axes.set_xlabel(names[1], fontsize=9)
    figure.suptitle(title, fontsize=10)
    bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=MaxNLocator(5, integer=True, min_n_ticks=1))
    bar.ax.tick_params(labelsize=8)
    bar.set_label("samples (white: none)", fontsize=8)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts):
        text.set_parse_math(False)  # a name with two dollar signs is not a formula
    if width * _POINTS >= digits * 4.5 + 3:
        for row, column in np.argwhere(counts > 0):
            value = int(counts[row, column])
            color = "white" if value > 0.55 * largest else "black"
            axes.text(column, row, str(value), ha="center", va="center", fontsize=7, color=color)
    return figure
