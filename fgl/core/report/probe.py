"""What a probe found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgl.core.report.quality import space_line
from fgl.core.report.tables import Table, number


def probe_table(found: Mapping[str, Any]) -> Table:
    """A client a row, pictures / real images for each score; all of them together last."""
    columns = ("", "images", "coverage", "density", "distance", "agreement", f"recognized ({found['chance']:.0%})")
    rows = []
    for name, one in [*found["clients"].items(), ("all", found["all"])]:
        pairs = [
            f"{number(one['made'][score])} / {number(one['real'][score])}"
            for score in ("coverage", "density", "nearest", "agreement")
        ]
        rows.append([name, f"{one['reference']:,}", *pairs, number(one["recognized"])])
    return Table(columns, rows)


def probe_class_table(found: Mapping[str, Any]) -> Table:
    """A class a row, pictures / real images for each score."""
    rows = []
    for name, one in found["all"]["per_class"].items():
        rows.append(
            [
                name,
                *(
                    f"{number(one['made'][score])} / {number(one['real'][score])}"
                    for score in ("coverage", "density", "nearest")
                ),
            ]
        )
    return Table(("class", "coverage", "density", "distance"), rows)


def probe_notes(found: Mapping[str, Any]) -> list[str]:
    """How to read it, without a verdict."""
    one, pictures, sent = found["all"], found["pictures"], found["bytes"]
    made, real = one["made"], one["real"]
    lines = [
        space_line(found["space"]),
        f"{pictures['images']:,} pictures, {pictures['per_class']} of each of {pictures['classes']} classes from "
        f"class-name prompts; each client looked at up to {pictures['per_class']} of its own images of a class, and at "
        "as many others of its own, which give the second figure.",
    ]
    if made["coverage"] is not None:
        lines.append(
            f"coverage: {made['coverage']:.2f} of the clients' images have a picture among their nearest neighbors; "
            f"with other real images instead it is {number(real['coverage'])}."
        )
    if made["nearest"] is not None and real["nearest"]:
        lines.append(
            f"distance: a picture is {made['nearest'] / real['nearest']:.2f} times as far from the nearest of the "
            "clients' images as another real image is."
        )
    if one["recognized"] is not None:
        lines.append(
            f"recognized: {one['recognized']:.0%} of the clients' images are nearest to the mean picture of their own "
            f"class, among all classes; a guess gives {found['chance']:.0%}. agreement is the same among the classes "
            f"that a client holds, with pictures {number(made['agreement'])}, with real images "
            f"{number(real['agreement'])}."
        )
    lines.append(
        f"{sent['down']:,} bytes went down to the clients, {sent['up']:,} came up, in {found['seconds']:.0f} s."
    )
    return lines
