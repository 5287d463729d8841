"""What a probe found: its figures, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass

from fgl.core.report.figures import Space
from fgl.core.report.intervals import Share
from fgl.core.report.quality import space_line
from fgl.core.report.scores import BytesBothWays
from fgl.core.report.tables import Table, number
from fgl.core.server.refusals import Refusal
from fgl.core.store.typed import JsonObject, json_field
from fgl.core.wire.replies import BothScores, ProbeScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What was shown to the clients."""

    per_class: int
    """Pictures of each class."""
    classes: int
    """How many classes."""
    images: int
    """How many pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFigures:
    """Does the generator know this domain? What `fgl probe --json` prints."""

    space: Space
    """The feature space."""
    generator: JsonObject
    """What the generator says of itself: `model`, `revision`, `commit`, `image_size`."""
    pictures: Pictures
    """What was shown to the clients."""
    clients: dict[str, ProbeScores]
    """Client → its scores."""
    all_clients: ProbeScores = json_field("all")
    """Means over clients, each by the number of its images."""
    recognized: Share | None
    """Share of the clients' images that the pictures tell apart, with its 95 % interval; null where none was tested."""
    refused: dict[str, Refusal]
    """Client → why its scores were refused."""
    chance: float
    """Share of images that a guess recognizes."""
    min_images: int
    """Fewest images of a class that has scores of its own."""
    bytes: BytesBothWays
    """What was sent for it."""
    seconds: float
    """How long it took."""


def probe_table(probe: ProbeFigures) -> Table:
    """A client a row, pictures / real images for each score; all of them together last."""
    columns = ("", "images", "coverage", "density", "distance", "agreement", f"recognized ({probe.chance:.0%})")
    rows = [
        [
            name,
            f"{one.reference:,}",
            *_pairs(one, ("coverage", "density", "nearest", "agreement")),
            number(one.recognized),
        ]
        for name, one in [*probe.clients.items(), ("all", probe.all_clients)]
    ]
    return Table(columns, rows)


def probe_class_table(probe: ProbeFigures) -> Table:
    """A class a row, pictures / real images for each score."""
    rows = [
        [name, *_pairs(one, ("coverage", "density", "nearest"))] for name, one in probe.all_clients.per_class.items()
    ]
    return Table(("class", "coverage", "density", "distance"), rows)


def _pairs(scores: ProbeScores | BothScores, names: tuple[str, ...]) -> list[str]:
    return [f"{number(scores.made.of(name))} / {number(scores.real.of(name))}" for name in names]


def probe_notes(probe: ProbeFigures) -> list[str]:
    """How to read it, without a verdict."""
    whole, pictures, sent = probe.all_clients, probe.pictures, probe.bytes
    made, real = whole.made, whole.real
    lines = [
        space_line(probe.space),
        f"{pictures.images:,} pictures, {pictures.per_class} of each of {pictures.classes} classes from "
        f"class-name prompts; each client looked at up to {pictures.per_class} of its own images of a class, and at "
        "as many others of its own, which give the second figure.",
    ]
    if made.coverage is not None:
        lines.append(
            f"coverage: {made.coverage:.2f} of the clients' images have a picture among their nearest neighbors; "
            f"with other real images instead it is {number(real.coverage)}."
        )
    if made.nearest is not None and real.nearest:
        lines.append(
            f"distance: a picture is {made.nearest / real.nearest:.2f} times as far from the nearest of the "
            "clients' images as another real image is."
        )
    if whole.recognized is not None:
        lines.append(
            f"recognized: {whole.recognized:.0%} of the clients' images are nearest to the mean picture of their own "
            f"class, among all classes; a guess gives {probe.chance:.0%}. agreement is the same among the classes "
            f"that a client holds, with pictures {number(made.agreement)}, with real images {number(real.agreement)}."
        )
    lines.append(f"{sent.down:,} bytes went down to the clients, {sent.up:,} came up, in {probe.seconds:.0f} s.")
    return lines
