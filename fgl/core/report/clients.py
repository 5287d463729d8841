"""Tests at the clients, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgl.text import markdown as md

_READ = (
    "Held-out real images are the yardstick: the same number, of the same classes, against the same reference. FID and "
    "KID are 0 for equal distributions, and FID is too large for few images; coverage is the share of reference images "
    "that have a synthetic one as near as a real neighbor, precision the converse, density how many neighborhoods an "
    "image lies in. A distance far below the held-out one, or a share well above 1 %, points at copies of real images."
)


def clients_section(found: Mapping[str, Any] | None, top1: float) -> list[str]:
    """Lines of report.md; none where the clients were not asked. top1: on the test split."""
    if found is None:
        return []
    lines = ["", "## Tested at the clients", "", md(clients_line(found, top1)), ""]
    lines += ["| client | right | of | top-1 |", "|---|---|---|---|"]
    for name, one in found["per_client"].items():
        lines.append(f"| {md(name)} | {one['right']:,} | {one['total']:,} | {one['right'] / one['total']:.1%} |")
    if found["per_class"]:
        lines += ["", "| class | right | of | top-1 |", "|---|---|---|---|"]
        for name, one in found["per_class"].items():
            lines.append(f"| {md(name)} | {one['right']:,} | {one['total']:,} | {one['top1']:.1%} |")
    lines += [f"- {md(name)}, rule {md(one['rule'])}: {md(one['reason'])}" for name, one in found["refused"].items()]
    sent = found["bytes"]
    return [*lines, "", f"{sent['down']:,} bytes went down (the classifier), {sent['up']:,} came up (counts)."]


def clients_line(found: Mapping[str, Any], top1: float) -> str:
    count = len(found["per_client"])
    whole = "all" if found["total"] == found["stands_for"] else f"of {found['stands_for']:,.0f}"
    return (
        f"Top-1 on the clients' own images: {found['top1']:.1%} ({found['right']:,} of {found['total']:,} images, "
        f"{whole} that their uploads stand for, {count} client{'s' * (count != 1)}); on the test split {top1:.1%}."
    )
