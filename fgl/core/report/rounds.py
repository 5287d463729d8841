"""Rounds, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fgl.core.report.scores import Adaptation, Round, Rounds, StartChoice
from fgl.core.report.tables import Table
from fgl.text import counted
from fgl.text import markdown as md


def rounds_section(after: Rounds | None) -> list[str]:
    """Lines of report.md, a row a round; none without rounds."""
    if after is None:
        return []
    return [
        "",
        "## Rounds",
        "",
        *_start_lines(after.start),
        "The global model is tested for this table alone: nothing is selected by it, the last round counts.",
        "",
        *Table(_COLUMNS, [_cells(one) for one in after.rounds], "rrllrrrlr").markdown(),
        *_rule_lines(after.rounds),
    ]


def _rule_lines(rounds: Sequence[Round]) -> list[str]:
    """What the aggregation rule did, client by client, and whose claims were capped; none where neither happened."""
    ruled = [one.rule for one in rounds if one.rule is not None]
    lines = []
    if ruled:
        left_out = Counter(client for one in ruled for client in one.left_out)
        scaled = Counter(client for one in ruled for client in one.scaled)
        done = [
            f"{words} {md(_often(counts))}"
            for words, counts in (("left out", left_out), ("scaled down", scaled))
            if counts
        ]
        refused = [one for one in ruled if one.refused]
        done += [f"too few updates in {counted(len(refused), 'round')} ({md(refused[0].refused)})"] if refused else []
        lines += ["", f"Aggregation rule {md(ruled[0].name)}, in {counted(len(ruled), 'round')}"]
        lines[-1] += f": {'; '.join(done)}." if done else "."
    capped = Counter(client for one in rounds for client in one.capped or ())
    if capped:
        lines += ["", f"Counted for no more samples than their uploads declared: {md(_often(capped))}."]
    return lines


def _often(counts: Counter[str]) -> str:
    return ", ".join(f"{client} ({number})" for client, number in sorted(counts.items()))


STARTS = {
    "one-shot": "from the one-shot model",
    "one-shot-fast": "from the one-shot model, at the learning rate of training from scratch",
    "scratch": "from scratch",
}
"""Start of rounds → in words."""


def _start_lines(start: StartChoice | None) -> list[str]:
    """Where rounds started, why, and what else was tried."""
    if start is None:
        return []
    sent = (
        f"Clients tested models on their own images for this, and sent back counts alone. The choice took "
        f"{start.bytes.down:,} bytes down and {start.bytes.up:,} up, with the rounds that were given up."
    )
    lines = [f"Start: {md(start.reason)}.", "", sent, ""]
    if not start.candidates:
        return lines
    rows = [
        (
            STARTS[one.name],
            ", ".join("?" if counts is None else f"{counts.share:.1%}" for counts in one.counts),
            ", ".join("" if top1 is None else f"{top1:.1%}" for top1 in one.top1),
            one.left or "chosen",
        )
        for one in start.candidates
    ]
    columns = ("start", "right on clients' images, by round", "top-1 on test images, by round", "")
    return [*lines, *Table(columns, rows, "llll").markdown(), ""]


def adaptation_section(adaptation: Adaptation | None) -> list[str]:
    """Lines of report.md on the rounds in which the clients adapted the generator; none without them."""
    if adaptation is None:
        return []
    trained = ", ".join(f"{key} {value}" for key, value in adaptation.settings.items() if key != "method")
    sent = adaptation.bytes_up + adaptation.bytes_down
    each = [one.seconds / len(one.clients) for one in adaptation.rounds if one.clients]
    kept, own = f"`{adaptation.place}`", ""
    if adaptation.per_client is not None:
        kept = "`adaptation/clients`"
        own = (
            "The adapters of the last round were not averaged: a client's rows became images with its own adapter "
            f"({counted(len(adaptation.per_client), 'client')}), and with the shared one where it sent none. "
        )
    return [
        "",
        "## Adaptation of the generator",
        "",
        f"Before anything was synthesized, the clients trained an adapter of {adaptation.adapter_bytes:,} bytes on "
        f"their own images in {counted(len(adaptation.rounds), 'round')}: {sent:,} bytes both ways, "
        f"{sum(each) / max(1, len(each)):.1f} seconds a client and round on this machine. {own}{md(trained)}.",
        "",
        "**A generator that was trained on private images can repeat them.** What it made, and its weights in "
        f"{kept}, may show them: `fgl audit` looks for near copies among the synthetic images.",
        "",
        *Table(_COLUMNS, [_cells(one) for one in adaptation.rounds], "rrllrrrlr").markdown(),
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
