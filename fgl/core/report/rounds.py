"""Rounds, in words."""

from __future__ import annotations

from fgl.core.report.scores import Round, Rounds
from fgl.core.report.tables import Table


def rounds_section(after: Rounds | None) -> list[str]:
    """Lines of report.md, a row a round; none without rounds."""
    if after is None:
        return []
    return [
        "",
        "## Rounds",
        "",
        "The global model is tested for this table alone: nothing is selected by it, the last round counts.",
        "",
        *Table(_COLUMNS, [_cells(one) for one in after.rounds], "rrllrrrlr").markdown(),
    ]


_COLUMNS = ("round", "clients", "dropped out", "failed", "loss", "bytes down", "bytes up", "top-1", "seconds")


def _cells(one: Round) -> tuple[str, ...]:
    top1 = "" if one.top1 is None else f"{one.top1:.1%}"
    top1 += "" if one.clients else " (nobody answered: the model is as it was)"
    return (
        str(one.round),
        str(len(one.clients)),
        ", ".join(one.dropped),
        ", ".join(one.failed),
        "" if one.loss is None else f"{one.loss:.3f}",
        f"{one.bytes_down:,}",
        f"{one.bytes_up:,}",
        top1,
        f"{one.seconds:.1f}",
    )
