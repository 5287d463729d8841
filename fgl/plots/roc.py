"""Receiver operating characteristics on two logarithmic axes: what counts is on the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fgl.core.report.audit import ATTACKS
from fgl.io import files
from fgl.plots.curves import COLORS, Write, save
from fgl.text import plain


@dataclass(frozen=True)
class Roc:
    """One attack. rates, hits: false- and true-positive rates, 0 to 1, rising. dashed: the simpler attack of two."""

    label: str
    rates: Sequence[float]
    hits: Sequence[float]
    color: int = 0
    dashed: bool = False


def save_roc(
    paths: Sequence[Path], lines: Sequence[Roc], title: str, lowest: float, write: Write = files.write
) -> None:
    """Draw into each path, whose suffix says how. lowest: false-positive rate at which both axes begin, that which the
    samples can resolve. Raises StoreError."""
    with mpl.rc_context({"svg.hashsalt": "fgl", "svg.fonttype": "none"}):
        save(_draw(lines, title, lowest), paths, write)


def save_membership(folder: Path, found: Mapping[str, Any], write: Write = files.write) -> None:
    """roc.png and roc.svg in the folder of an audit. found: its part `membership`. Raises StoreError."""
    lines = [
        Roc(f"{one['title']}: {name}", found["grid"], one[attack]["curve"], place, attack != "lira")
        for place, one in enumerate(found["methods"].values())
        for attack, name in ATTACKS.items()
    ]
    title = f"Membership inference, mean over {found['shadows']} shadow models"
    # what lies below one false positive is no measurement
    save_roc([folder / "roc.png", folder / "roc.svg"], lines, title, 1 / max(2, found["non_members"]), write)


def _draw(lines: Sequence[Roc], title: str, lowest: float) -> Figure:
    # square axes, and the legend below them: beside them it would leave the plot less than half of the picture
    figure = Figure(figsize=(6.4, 6.7 + 0.19 * (len(lines) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([lowest, 1], [lowest, 1], color="0.6", linestyle=":", linewidth=1.2, label="chance")
    for line in lines:
        color = COLORS[line.color % len(COLORS)]
        axes.plot(
            line.rates,
            line.hits,
            color=color,
            linewidth=1.4,
            label=plain(line.label),
            linestyle="--" if line.dashed else "-",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(lowest, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("false-positive rate")
    axes.set_ylabel("true-positive rate")
    axes.set_title(plain(title), fontsize=10)
    axes.grid(color="0.9", linewidth=0.6)
    legend = figure.legend(fontsize=8, loc="outside lower center", frameon=False)
    for text in (axes.title, *legend.get_texts()):
        text.set_parse_math(False)  # a name with two dollar signs is no formula
    return figure
