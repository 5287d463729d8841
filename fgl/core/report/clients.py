"""Tests at the clients, in words."""

from __future__ import annotations

from fgl.core.report.scores import ClientTest
from fgl.core.report.tables import Table
from fgl.text import markdown as md


def clients_section(test: ClientTest | None, top1: float) -> list[str]:
    """Lines of report.md; none where the clients were not asked. top1: on the test split."""
    if test is None:
        return []
    lines = ["", "## Tested at the clients", "", md(clients_line(test, top1)), ""]
    rows = [
        (name, f"{one.right:,}", f"{one.total:,}", f"{one.right / one.total:.1%}")
        for name, one in test.per_client.items()
    ]
    lines += Table(("client", "right", "of", "top-1"), rows).markdown()
    if test.per_class:
        rows = [
            (name, f"{of_class.right:,}", f"{of_class.total:,}", f"{of_class.top1:.1%}")
            for name, of_class in test.per_class.items()
        ]
        lines += ["", *Table(("class", "right", "of", "top-1"), rows).markdown()]
    lines += [f"- {md(name)}, rule {md(one.rule)}: {md(one.reason)}" for name, one in test.refused.items()]
    sent = test.bytes
    return [*lines, "", f"{sent.down:,} bytes went down (the classifier), {sent.up:,} came up (counts)."]


def clients_line(test: ClientTest, top1: float) -> str:
    """The counts of all clients in a sentence. top1: on the test split."""
    count = len(test.per_client)
    whole = "all" if test.total == test.stands_for else f"of {test.stands_for:,.0f}"
    return (
        f"Top-1 on the clients' own images: {test.top1:.1%} ({test.right:,} of {test.total:,} images, "
        f"{whole} that their uploads stand for, {count} client{'s' * (count != 1)}); on the test split {top1:.1%}."
    )
