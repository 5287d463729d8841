"""The quality of the synthetic set, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fgl.core.report.clients import _READ
from fgl.core.report.tables import FIGURES, figure, paragraphs, table

if TYPE_CHECKING:
    from fgl.core.report.tables import Row


def quality_rows(found: Mapping[str, Any]) -> list[Row]:
    """Figure, of the synthetic images, of as many held-out real ones; a header first."""
    both = found["overall"]["synthetic"], found["overall"]["held_out"]
    rows = [["", "synthetic", "held-out real"]]
    rows += [
        [name.upper() if name in ("kid", "fid") else name, *(figure(one, name) for one in both)] for name, _ in FIGURES
    ]
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
            " / ".join(figure(side, key) for side in both) for key in ("coverage", "density", "recall", "kid", "fid")
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
        f"{found['real_is']} ({found['real']}). k = {found['overall']['synthetic']['k']} neighbors."
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
        f"license: {space['license']}."
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
