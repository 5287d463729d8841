"""Rounds, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgl.text import markdown as md


def rounds_section(after: Mapping[str, Any] | None) -> list[str]:
    """What `rounds.run` returned, a line a round."""
    if after is None:
        return []
    lines = ["", "## Rounds", ""]
    lines += ["The global model is tested for this table alone: nothing is selected by it, the last round counts.", ""]
    lines += ["| round | clients | dropped out | failed | loss | bytes down | bytes up | top-1 | seconds |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for one in after["rounds"]:
        loss = "" if one["loss"] is None else f"{one['loss']:.3f}"
        top1 = "" if one["top1"] is None else f"{one['top1']:.1%}"
        top1 += "" if one["clients"] else " (nobody answered: the model is as it was)"
        dropped, failed = (", ".join(map(md, one[which])) for which in ("dropped", "failed"))
        lines.append(
            f"| {one['round']} | {len(one['clients'])} | {dropped} | {failed} | "
            f"{loss} | {one['bytes_down']:,} | {one['bytes_up']:,} | {top1} | {one['seconds']:.1f} |"
        )
    return lines
