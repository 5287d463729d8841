"""Receiver operating characteristics on two logarithmic axes: what matters is on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fgl.core.report.audit import ATTACKS
from fgl.core.report.audit_figures import Membership
from fgl.io import files
from fgl.plots.curves import COLORS, Write, save
from fgl.text import plain


@dataclass(frozen=True)
class Roc:
    """One attack."""

    label: str
    rates: Sequence[float]
    """False-positive rates, 0 to 1, rising."""
    hits: Sequence[float]
    """The true-positive rate at each of them."""
    color: int = 0
    """Of the target, an index into `COLORS`."""
    dashed: bool = False
    """Whether it is the simpler of two attacks."""


def save_roc(
    paths: Sequence[Path], lines: Sequence[Roc], title: str, lowest: float, write: Write = files.write
) -> None:
    """Draw the attacks.

    Args:
        paths: The files; their suffixes say how they are drawn.
        lines: The attacks.
        title: Above the drawing.
        lowest: The false-positive rate at which both axes begin: the lowest that the samples can resolve.
        write: Writes a file.

    Raises StoreError.
    """
    with mpl.rc_context({"svg.hashsalt": "fgl", "svg.fonttype": "none"}):
        save(_draw(lines, title, lowest), paths, write)


def save_membership(folder: Path, membership: Membership, write: Write = files.write) -> None:
    """Draw roc.png and roc.svg in the folder of an audit. Raises StoreError."""
    lines = [
        Roc(f"{target.title}: {name}", membership.grid, target.attack(attack).curve or [], place, attack != "lira")
        for place, target in enumerate(membership.methods.values())
        for attack, name in ATTACKS.items()
    ]
    title = f"Membership inference, mean over {membership.shadows} shadow models"
    # below one false positive nothing is measured
    save_roc([folder / "roc.png", folder / "roc.svg"], lines, title, 1 / max(2, membership.non_members), write)


def _draw(lines: Sequence[Roc], title: str, lowest: float) -> Figure:
    # square axes with the legend below: beside them it would take more than half of the picture
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
        text.set_parse_math(False)  # a name with two dollar signs is not a formula
    return figure
