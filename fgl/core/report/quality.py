"""The quality of the synthetic set, in words."""

from __future__ import annotations

from fgl.core.report.figures import Distances, Figures, Nearest, Quality, Space
from fgl.core.report.tables import FIGURES, Table, figure, paragraphs

_READ = (
    "Held-out real images are the yardstick: the same number, of the same classes, against the same reference. FID and "
    "KID are 0 for equal distributions, and FID is too large for few images; coverage is the share of reference images "
    "that have a synthetic one as near as a real neighbor, precision the converse, density how many neighborhoods an "
    "image lies in. A distance far below the held-out one, or a share well above 1 %, points at copies of real images."
)


def quality_table(quality: Quality) -> Table:
    """A figure a row, of the synthetic images and of as many held-out real ones."""
    both, near = (quality.overall.synthetic, quality.overall.held_out), quality.nearest
    rows = [
        [name.upper() if name in ("kid", "fid") else name, *(figure(one, name) for one in both)] for name, _ in FIGURES
    ]
    for name, words in (("median", "median"), ("p05", "nearest 5 %"), ("p01", "nearest 1 %")):
        distances = (f"{one.of(name):.4g}" for one in _sides(near))
        rows.append([f"distance to nearest real, {words}", *distances])
    rows.append(["closer than the nearest 1 % of held-out", f"{near.closer:.1%}", f"{near.closer_held_out:.1%}"])
    return Table(("", "synthetic", "held-out real"), rows)


def class_table(quality: Quality) -> Table:
    """A class a row, each figure as synthetic / held-out."""
    rows = []
    for name, one in quality.per_class.items():
        size = f"{one.counts.compared:,} / {one.counts.held_out:,} / {one.counts.reference:,}"
        if one.synthetic is None or one.held_out is None or one.nearest is None:
            rows.append([name, size, *[""] * 6, one.why or ""])
            continue
        both: tuple[Figures, Figures] = one.synthetic, one.held_out
        cells = [
            " / ".join(figure(side, key) for side in both) for key in ("coverage", "density", "recall", "kid", "fid")
        ]
        near = " / ".join(f"{side.median:.4g}" for side in _sides(one.nearest))
        rows.append([name, size, *cells, near, ""])
    return Table(("class", "images", "coverage", "density", "recall", "KID ± SE", "FID", "distance", ""), rows)


def _sides(near: Nearest) -> tuple[Distances, Distances]:
    return near.synthetic, near.held_out


def quality_notes(quality: Quality) -> list[str]:
    """Whose space, which images, how many, and why a figure is missing."""
    counts, overall = quality.counts, quality.overall
    lines = [space_line(quality.space)]
    lines.append(
        f"Compared: {counts.compared:,} of {counts.synthetic:,} synthetic images, and as many held-out real ones "
        f"of the same classes, each with {counts.reference:,} reference images; all real ones are from "
        f"{quality.real_is} ({quality.real}). k = {overall.synthetic.k} neighbors."
    )
    reasons = {
        f"No {name.upper().replace('_', ' ')}: {why}.": None
        for side in (overall.synthetic, overall.held_out)
        for name, why in side.why.items()
    }
    lines += reasons
    without = [name for name, one in quality.per_class.items() if one.why is not None]
    if without:
        lines.append(f"Not compared: {', '.join(without)} (see the table by class).")
    return lines


def space_line(space: Space) -> str:
    """Whose features these are, in a sentence."""
    at = f", commit {space.commit}" if space.commit else ""
    weights = f", weights sha256 {space.digest[:16]}" if space.digest else ""
    own = f" ({space.classifier})" if space.classifier else ""
    learnt = f", trained on {space.learnt_on}" if space.learnt_on else ""
    return (
        f"Feature space {space.name}: {space.model}{own}{at}{weights}{learnt}; {space.dimensions} features; "
        f"license: {space.license}."
    )


def quality_section(quality: Quality | None, beside: str = "") -> list[str]:
    """Lines of report.md; none where nothing was measured. beside: what a measurement after the run is called."""
    if quality is None:
        return []
    title = f"Quality of the synthetic set{f', measured by fgl quality: {beside}' if beside else ''}"
    return [
        "",
        f"## {title}",
        "",
        *paragraphs(quality_notes(quality)),
        *quality_table(quality).markdown(),
        "",
        *paragraphs([_READ]),
        "By class, synthetic / held-out (images: synthetic / held-out / reference):",
        "",
        *class_table(quality).markdown(),
        "",
        f"Distances, image by image: `{quality.distances}`.",
    ]
