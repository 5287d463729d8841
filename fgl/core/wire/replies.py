"""What clients answer to an evaluation or a probe: hostile until it has passed every rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from fgl.core.store.typed import from_json, json_field
from fgl.core.wire.container import parse
from fgl.errors import (
    ClientFailedError,
    UploadClassesError,
    UploadFormatError,
    UploadSenderError,
    UploadSizeError,
    UploadValueError,
)
from fgl.text import quoted

MAX_REPLY = 1_000_000
"""Bytes of a reply: counts of some thousand classes."""
MAX_SCORE = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """What a probe says of a set of images. A score is null where there are too few images."""

    density: float | None
    """How many neighborhoods of the client's images an image lies in, divided by the number of neighbors."""
    coverage: float | None
    """Share of the client's images that have one of the images as near as a real neighbor."""
    agreement: float | None
    """Share of the client's images whose nearest class mean of the images is that of their own class, among the classes
    that the client holds."""
    nearest: float | None
    """Median distance from the images to the nearest of the client's images."""

    def of(self, name: str) -> float | None:
        """A score by its name."""
        value: float | None = getattr(self, name)
        return value


SCORES = tuple(one.name for one in fields(ImageScores))


@dataclass(frozen=True, slots=True, kw_only=True)
class BothScores:
    """Scores of pictures beside those of other real images of the same client."""

    made: ImageScores
    """Of the pictures that the generator made."""
    real: ImageScores
    """Of as many other images of the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeScores:
    """What pictures of a generator are worth to a client, or to all clients."""

    reference: int
    """Images that were compared with."""
    compared: int
    """Pictures that were compared."""
    made: ImageScores
    """Of the pictures."""
    real: ImageScores
    """Of as many other images of the client."""
    recognized: float | None
    """Share of the images whose nearest class mean of pictures is that of their own class, among all classes."""
    per_class: dict[str, BothScores]
    """Class → its scores; only classes of which a client holds `evaluation.min_images`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCounts:
    """On how many of its own images a client finds a classifier right."""

    right: int
    """Images on which it is right."""
    total: int
    """Images that it was tested on."""
    per_class: dict[str, tuple[int, int]] | None = json_field(omit_none=True)
    """Class → images on which it is right, and all; None where counts by class were not asked for."""


def validate_counts(
    reply: bytes, client_id: str, class_names: Sequence[str], per_class: bool, claimed: Sequence[float] | None
) -> ImageCounts:
    """What `evaluate` said, if it can be true.

    claimed: samples of each class that the client's upload stands for; a client is not to weigh more here than there.
    None where nothing is known of it. Raises UploadError."""
    stated = _read(reply, client_id, {"client_id", "right", "total"} | ({"per_class"} if per_class else set()))
    bounds = [math.inf] * len(class_names) if claimed is None else [math.ceil(count) for count in claimed]
    right, total = _counts((stated["right"], stated["total"]), sum(bounds), "in all")
    if total < 1:
        raise UploadValueError("refused: counts of no image")
    if not per_class:
        return ImageCounts(right=right, total=total)
    classes = stated["per_class"]
    if not isinstance(classes, dict) or not set(classes) <= set(class_names):
        raise UploadClassesError("refused: counts by class are not a mapping of class names")
    known = dict(zip(class_names, bounds, strict=True))
    pairs = {name: _counts(pair, known[name], f"of {quoted(name)}") for name, pair in classes.items()}
    sums = [sum(pair[place] for pair in pairs.values()) for place in (0, 1)]
    # Classes of too few images are left out, so sums may be smaller; but neither part may be larger than all.
    if sums[0] > right or sums[1] > total or sums[1] - sums[0] > total - right:
        raise UploadValueError("refused: counts by class add up to more than those in all")
    return ImageCounts(right=right, total=total, per_class=pairs)


def _counts(pair: Any, bound: float, of_what: str) -> tuple[int, int]:
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(number) is int for number in pair)
    if not is_pair or not 0 <= pair[0] <= pair[1]:
        raise UploadValueError(f"refused: counts {of_what}: {quoted(pair)}; expected whole numbers 0 <= right <= total")
    if pair[1] > bound:
        raise UploadValueError(f"refused: counts {of_what}: {quoted(pair[1])} images; its upload stands for {bound:g}")
    return pair[0], pair[1]


def validate_scores(reply: bytes, client_id: str, class_names: Sequence[str], most: int) -> ProbeScores:
    """What `probe` said, if it can be true. most: images a class that were asked for. Raises UploadError."""
    keys = {"client_id", "reference", "compared", "made", "real", "recognized", "per_class"}
    stated = _read(reply, client_id, keys)
    for key in ("reference", "compared"):
        count = stated[key]
        if type(count) is not int or not 0 <= count <= most * len(class_names):
            raise UploadValueError(f"refused: {key} is {quoted(count)}; expected a count of the images asked for")
    if not stated["reference"]:
        raise ClientFailedError("it holds no class with two images: nothing to compare the pictures with")
    for key in ("made", "real"):
        _check_scores(stated[key])
    _check_score("recognized", stated["recognized"])
    classes = stated["per_class"]
    if not isinstance(classes, dict) or not set(classes) <= set(class_names):
        raise UploadClassesError("refused: scores by class are not a mapping of class names")
    for both in classes.values():
        if not isinstance(both, dict) or set(both) != {"made", "real"}:
            raise UploadFormatError("refused: scores of a class are not those of pictures and of real images")
        for scores in both.values():
            _check_scores(scores)
    return from_json(ProbeScores, stated)


def _check_scores(scores: Any) -> None:
    if not isinstance(scores, dict) or set(scores) != set(SCORES):
        raise UploadFormatError(f"refused: expected the scores {', '.join(SCORES)}")
    for name, value in scores.items():
        _check_score(name, value)


def _check_score(name: str, value: Any) -> None:
    highest = 1.0 if name in ("coverage", "agreement", "recognized") else MAX_SCORE
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # neither NaN nor infinity is within bounds
    if value is not None and not (number and 0 <= value <= highest):
        raise UploadValueError(f"refused: {name} is {quoted(value)}; expected a number from 0 to {highest:g}, or none")


def _read(reply: bytes, client_id: str, keys: set[str]) -> dict[str, object]:
    """A reply of just these keys, from the client that was asked."""
    if len(reply) > MAX_REPLY:
        raise UploadSizeError(f"refused: a reply of {len(reply)} bytes; the cap is {MAX_REPLY}")
    stated = parse(reply)
    if set(stated) != keys:
        raise UploadFormatError(f"refused: a reply of {quoted(sorted(stated))}; expected {', '.join(sorted(keys))}")
    if stated["client_id"] != client_id:
        raise UploadSenderError(f"refused: {client_id} was asked, and {quoted(stated['client_id'])} answers")
    return stated
