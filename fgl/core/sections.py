"""Parts of the report in words: rounds, quality of the synthetic set, tests at clients, and what a probe found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fgl.core import text
from fgl.core.text import markdown as md

_FIGURES = (
    ("coverage", "{:.3f}"), ("density", "{:.3f}"), ("precision", "{:.3f}"), ("recall", "{:.3f}"), ("kid", "{:.4g}"),
    ("fid", "{:.4g}"),
)  # fmt: skip
Row = list[str]


def quality_rows(found: Mapping[str, Any]) -> list[Row]:
    """Figure, of the synthetic images, of as many held-out real ones; a header first."""
    both = found["overall"]["synthetic"], found["overall"]["held_out"]
    rows = [["", "synthetic", "held-out real"]]
    rows += [[name.upper() if name in ("kid", "fid") else name, *(_figure(one, name) for one in both)]
             for name, _ in _FIGURES]  # fmt: skip
    near = found["nearest"]
    for name, said in (("median", "median"), ("p05", "nearest 5 %"), ("p01", "nearest 1 %")):
        rows.append([f"distance to nearest real, {said}", *(f"{near[one][name]:.4g}" for one in _SIDES)])
    beside = near.get("closer_held_out", 0.01)  # a run measured by an earlier version has it not
    rows.append(["closer than the nearest 1 % of held-out", f"{near['closer']:.1%}", f"{beside:.1%}"])
    return rows


_SIDES = ("synthetic", "held_out")


def class_rows(found: Mapping[str, Any]) -> list[Row]:
    """One class a row, each figure as synthetic / held-out; a header first."""
    rows = [["class", "images", "coverage", "density", "recall", "KID ± SE", "FID", "distance", ""]]
    for name, one in found["per_class"].items():
        counts = one["counts"]
        size = f"{counts['compared']:,} / {counts['held_out']:,} / {counts['reference']:,}"
        if "why" in one:
            rows.append([name, size, *[""] * 6, one["why"]])
            continue
        both = one["synthetic"], one["held_out"]
        cells = [
            " / ".join(_figure(side, key) for side in both) for key in ("coverage", "density", "recall", "kid", "fid")
        ]
        near = " / ".join(f"{one['nearest'][side]['median']:.4g}" for side in _SIDES)
        rows.append([name, size, *cells, near, ""])
    return rows


def quality_notes(found: Mapping[str, Any]) -> list[str]:
    """Whose space, which images, how many, and why a figure is missing."""
    space, counts = found["space"], found["counts"]
    lines = [space_line(space)]
    lines.append(
        f"Compared: {counts['compared']:,} of {counts['synthetic']:,} synthetic images, and as many held-out real ones "
        f"of the same classes, each with {counts['reference']:,} reference images; all real ones are from "
        f"{found['real_is']} ({found['real']}). k = {found['overall']['synthetic']['k']} neighbours."
    )
    whys: dict[str, None] = {}
    for side in _SIDES:
        for name, why in found["overall"][side]["why"].items():
            whys[f"No {name.upper().replace('_', ' ')}: {why}."] = None
    lines += whys
    without = [name for name, one in found["per_class"].items() if "why" in one]
    if without:
        lines.append(f"Not compared: {', '.join(without)} (see the table by class).")
    return lines


def space_line(space: Mapping[str, Any]) -> str:
    at = f", commit {space['commit']}" if space.get("commit") else ""
    weights = f", weights sha256 {space['digest'][:16]}" if space.get("digest") else ""
    own = f" ({space['classifier']})" if space.get("classifier") else ""
    learnt = f", trained on {space['learnt_on']}" if space.get("learnt_on") else ""
    return (
        f"Feature space {space['name']}: {space['model']}{own}{at}{weights}{learnt}; {space['dimensions']} features; "
        f"licence: {space['licence']}."
    )


def quality_section(found: Mapping[str, Any] | None, beside: str = "") -> list[str]:
    """Lines of report.md; none where nothing was measured. beside: what a measurement after the run is called."""
    if found is None:
        return []
    title = f"Quality of the synthetic set{f', measured by fgl quality: {beside}' if beside else ''}"
    lines = ["", f"## {title}", "", *paragraphs(quality_notes(found)), *table(quality_rows(found))]
    lines += [
        "",
        *paragraphs([_READ]),
        "By class, synthetic / held-out (images: synthetic / held-out / reference):",
        "",
    ]
    return [*lines, *table(class_rows(found)), "", f"Distances, image by image: `{found['distances']}`."]


_READ = (
    "Held-out real images are the yardstick: the same number, of the same classes, against the same reference. FID and "
    "KID are 0 for equal distributions, and FID is too large for few images; coverage is the share of reference images "
    "that have a synthetic one as near as a real neighbour, precision the converse, density how many neighbourhoods an "
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


def probe_rows(found: Mapping[str, Any]) -> list[Row]:
    """A client a row, pictures / real images for each score; a header first, all of them together last."""
    rows = [["", "images", "coverage", "density", "distance", "agreement", f"recognised ({found['chance']:.0%})"]]
    for name, one in [*found["clients"].items(), ("all", found["all"])]:
        pairs = [
            f"{_number(one['made'][score])} / {_number(one['real'][score])}"
            for score in ("coverage", "density", "nearest", "agreement")
        ]
        rows.append([name, f"{one['reference']:,}", *pairs, _number(one["recognised"])])
    return rows


def probe_class_rows(found: Mapping[str, Any]) -> list[Row]:
    rows = [["class", "coverage", "density", "distance"]]
    for name, one in found["all"]["per_class"].items():
        rows.append([name, *(f"{_number(one['made'][score])} / {_number(one['real'][score])}"
                             for score in ("coverage", "density", "nearest"))])  # fmt: skip
    return rows


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
            f"coverage: {made['coverage']:.2f} of the clients' images have a picture among their nearest neighbours; "
            f"with other real images instead it is {_number(real['coverage'])}."
        )
    if made["nearest"] is not None and real["nearest"]:
        lines.append(
            f"distance: a picture is {made['nearest'] / real['nearest']:.2f} times as far from the nearest of the "
            "clients' images as another real image is."
        )
    if one["recognised"] is not None:
        lines.append(
            f"recognised: {one['recognised']:.0%} of the clients' images are nearest to the mean picture of their own "
            f"class, among all classes; a guess gives {found['chance']:.0%}. agreement is the same among the classes "
            f"that a client holds, with pictures {_number(made['agreement'])}, with real images "
            f"{_number(real['agreement'])}."
        )
    lines.append(
        f"{sent['down']:,} bytes went down to the clients, {sent['up']:,} came up, in {found['seconds']:.0f} s."
    )
    return lines


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown; the first row is the header."""
    lines = ["| " + " | ".join(md(cell) for cell in row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def plain(rows: Sequence[Row]) -> list[str]:
    """Columns for a terminal; the first one is left-aligned."""
    rows = [[text.plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
    return lines


def _figure(one: Mapping[str, Any], name: str) -> str:
    value = one[name]
    if value is None:
        return "–"
    error = one["kid_se"] if name == "kid" else None
    return dict(_FIGURES)[name].format(value) if error is None else with_error(value, error)


def with_error(value: float, error: float) -> str:
    """A value and its standard error to the same place, that of the error's second digit: `690 ± 150`, `0.078 ± 0.028`;
    no more than 1e15 or less than 1e-9 is written out."""
    if error <= 0 or not (1e-9 < error < 1e15 and abs(value) < 1e15):
        return f"{value:.4g} ± {error:.2g}"
    places = 1 - math.floor(math.log10(error))
    if places > 0:
        return f"{value:.{places}f} ± {error:.{places}f}"
    return f"{round(value, places):,.0f} ± {round(error, places):,.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def paragraphs(lines: Sequence[str]) -> list[str]:
    """Markdown of lines of plain text, an empty one after each."""
    return [part for line in lines for part in (md(line), "")]


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
