"""What a client does beside preparing an upload: it measures on its own images, and counts or scores leave it.

Both sides of the wire: what the server sends, the client's task, and the server's judgement of a reply, which it takes
for hostile until it has passed every rule. Both ways are bytes: safetensors down, JSON up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl.core import client, policy, strict_json
from fgl.core.errors import (
    ClientFailedError,
    DataError,
    UploadClassesError,
    UploadFormatError,
    UploadSenderError,
    UploadSizeError,
    UploadValueError,
)
from fgl.core.pixels import decode, decode_for
from fgl.core.plan import halves
from fgl.core.preparing import Preparation
from fgl.core.text import quoted
from fgl.core.types import FitContext, Silent, Subset
from fgl.core.wire import parse

if TYPE_CHECKING:
    from fgl.core.contracts import Extractor
    from fgl.core.settings import RunConfig
    from fgl.core.types import Array, Labels

    Points = tuple[Array, Labels]

EVALUATE, PROBE = "fgl.core.tasks:answer_evaluate", "fgl.core.tasks:answer_probe"
MAX_REPLY = 1_000_000
"""Bytes of a reply: counts of some thousand classes."""
MAX_SCORE = 1e9
SCORES = ("density", "coverage", "agreement", "nearest")
"""What a probe says of a set of images; see `_scores`."""


# --- what goes down -------------------------------------------------------------------------------------------------


def request(
    config: RunConfig, client_id: str, device: str, data: str, arrays: Mapping[str, Array], **said: Any
) -> bytes:
    """arrays: the weights of a model, features of images. said: JSON that the task needs beside."""
    asked = {"config": config.to_dict(), "client_id": client_id, "device": device, "data": data, **said}
    packed = {name: np.array(array, order="C") for name, array in arrays.items()}
    return save(packed, {"request": strict_json.dumps(asked)})


def answer_evaluate(payload: bytes) -> bytes:
    """`evaluate`, as a federation calls it."""
    asked = _opened(payload)[0]
    return client.guarded(lambda: evaluate(payload), asked["client_id"], policy.private_folder(asked))


def answer_probe(payload: bytes) -> bytes:
    """`probe`, as a federation calls it."""
    asked = _opened(payload)[0]
    return client.guarded(lambda: probe(payload), asked["client_id"], policy.private_folder(asked))


def _opened(payload: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    try:
        length = int.from_bytes(payload[:8], "little")
        asked = strict_json.loads(strict_json.loads(payload[8 : 8 + length])["__metadata__"]["request"])
        return dict(asked), dict(load(payload))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UploadFormatError(f"the server's request cannot be read: {type(error).__name__}") from error


def _context(asked: Mapping[str, Any], site: client.Site) -> FitContext:
    return FitContext(class_names=site.class_names, seed=site.config.seed, device=asked["device"])


# --- testing the classifier at the client ---------------------------------------------------------------------------


def evaluate(payload: bytes) -> bytes:
    """How many of its own images the client finds the classifier right on. Counts leave it, and nothing else: by class
    only where it was asked for them, and for classes of which it holds enough images."""
    asked, state = _opened(payload)
    asked = policy.allowed(asked, "evaluate")
    site = client.site_of(asked)
    images = site.samples(asked["client_id"])
    if not len(images):
        raise DataError(f"{asked['client_id']} holds no image to test on")
    model = site.classifier.restore(state, _context(asked, site))
    pixels = decode_for(images, Preparation(**asked["prepare"]), Silent(), "decode")
    right = np.asarray(model.predict(pixels.pixels, "last", Silent())) == pixels.labels
    said: dict[str, Any] = {"client_id": asked["client_id"], "right": int(right.sum()), "total": len(right)}
    if site.config.evaluation.per_class:
        said["per_class"] = {
            name: [int(right[mine].sum()), int(mine.sum())]
            for index, name in enumerate(site.class_names)
            if (mine := pixels.labels == index).sum() >= site.config.evaluation.min_images
        }
    return strict_json.dumps(said).encode()


def judge_counts(
    reply: bytes, client_id: str, class_names: Sequence[str], per_class: bool, claimed: Sequence[float] | None
) -> dict[str, Any]:
    """What `evaluate` said, if it can be true: {"right", "total", "per_class"}, the last by class.

    claimed: samples of each class that the client's upload stands for; a client is not to weigh more here than there.
    None where nothing is known of it. Raises UploadError."""
    said = _read(reply, client_id, {"client_id", "right", "total"} | ({"per_class"} if per_class else set()))
    bounds = [math.inf] * len(class_names) if claimed is None else [math.ceil(count) for count in claimed]
    right, total = _counts((said["right"], said["total"]), sum(bounds), "in all")
    if total < 1:
        raise UploadValueError("refused: counts of no image")
    found: dict[str, Any] = {"right": right, "total": total}
    if per_class:
        classes = said["per_class"]
        if not isinstance(classes, dict) or not set(classes) <= set(class_names):
            raise UploadClassesError("refused: counts by class are not a mapping of class names")
        known = dict(zip(class_names, bounds, strict=True))
        found["per_class"] = {
            name: list(_counts(pair, known[name], f"of {quoted(name)}")) for name, pair in classes.items()
        }
        sums = [sum(pair[place] for pair in found["per_class"].values()) for place in (0, 1)]
        # Classes of too few images are left out, so sums may be smaller; but neither part may be larger than all.
        if sums[0] > right or sums[1] > total or sums[1] - sums[0] > total - right:
            raise UploadValueError("refused: counts by class add up to more than those in all")
    return found


def _counts(pair: Any, bound: float, of_what: str) -> tuple[int, int]:
    well = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(number) is int for number in pair)
    if not well or not 0 <= pair[0] <= pair[1]:
        raise UploadValueError(f"refused: counts {of_what}: {quoted(pair)}; expected whole numbers 0 <= right <= total")
    if pair[1] > bound:
        raise UploadValueError(f"refused: counts {of_what}: {quoted(pair[1])} images; its upload stands for {bound:g}")
    return pair[0], pair[1]


# --- probing a generator at the client ------------------------------------------------------------------------------


def probe(payload: bytes) -> bytes:
    """How pictures of the server's lie among a few images of the client's own, in a stated feature space. Scores leave
    it: in all, and for classes of which at least `evaluation.min_images` were looked at.

    The same scores of as many other images of its own stand beside them."""
    asked, arrays = _opened(payload)
    asked = policy.allowed(asked, "probe")
    site = client.site_of(asked)
    config, client_id, most = site.config, asked["client_id"], int(asked["per_class"])
    state = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
    extractor = site.space.extractor(state, site.classifier, _context(asked, site))
    rows = _few(site, client_id, asked["learnt"], most)
    reference, held_out = ([row for pair in rows.values() for row in pair[part]] for part in (0, 1))
    if not held_out:
        return strict_json.dumps({**_NOTHING, "client_id": client_id}).encode()
    size = (asked["size"][0], asked["size"][1])
    own = decode(Subset(site.train, [*reference, *held_out]), size, Silent(), "decode")
    points = extractor.features(own.pixels, Silent())
    count = len(reference)
    real_ones, tested = (points[:count], own.labels[:count]), (points[count:], own.labels[count:])
    made = arrays["features"], arrays["labels"]
    pictures = _taken(made, _as_many(made[1], tested[1]))
    seed = client.client_seed(config.seed, client_id, 0)
    said: dict[str, Any] = {
        "client_id": client_id, "reference": len(reference), "compared": len(pictures[1]),
        "made": _scores(extractor, real_ones, pictures, pictures, tested, seed),
        "real": _scores(extractor, real_ones, tested, real_ones, tested, seed),
    }  # fmt: skip
    said["recognised"] = _recognised(extractor, made, tested)
    per_class: dict[str, Any] = {}
    for class_id in np.unique(tested[1]).tolist():
        inner, drawn, others = (_taken(points, points[1] == class_id) for points in (real_ones, pictures, tested))
        if min(len(inner[1]), len(drawn[1]), len(others[1])) >= config.evaluation.min_images:
            per_class[site.class_names[class_id]] = {
                "made": _scores(extractor, inner, drawn, drawn, others, seed),
                "real": _scores(extractor, inner, others, inner, others, seed),
            }
    return strict_json.dumps({**said, "per_class": per_class}).encode()


# An answer and no error: of an error the server learns no more than its class.
_NOTHING: dict[str, Any] = {
    "reference": 0, "compared": 0, "made": dict.fromkeys(SCORES), "real": dict.fromkeys(SCORES), "recognised": None,
    "per_class": {},
}  # fmt: skip


def _few(site: client.Site, client_id: str, learnt: bool, most: int) -> dict[int, tuple[list[int], list[int]]]:
    """Class → (positions of reference images, of as many others) among what the client holds, `most` each at most.
    learnt: whether the space learnt on half of the training images (a simulation without public ones): those are left
    out, because it knows them too well."""
    held = site.positions(client_id)
    if learnt:
        held = np.intersect1d(held, halves(site.train.labels, site.config.seed)[1])
    draw = np.random.default_rng([client.client_seed(site.config.seed, client_id, 0), 3])
    found = {}
    labels = site.train.labels[held]
    for class_id in np.unique(labels).tolist():
        rows = draw.permutation(held[labels == class_id])
        count = min(most, len(rows) // 2)
        if count:
            found[class_id] = (rows[:count].tolist(), rows[count : 2 * count].tolist())
    return found


def _as_many(classes: Labels, wanted: Labels) -> Labels:
    """Positions in `classes`: of each class as many as `wanted` has, as far as there are."""
    found = [np.flatnonzero(classes == one)[: int((wanted == one).sum())] for one in np.unique(wanted).tolist()]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _scores(
    extractor: Extractor, real: Points, images: Points, means: Points, tested: Points, seed: int
) -> dict[str, float | None]:
    """density and coverage of `images` over `real`; nearest: their median distance to the nearest of `real`; agreement:
    the share of `tested` whose nearest class mean is their own class's, the means being those of `means`, over the
    classes of both. None where there are too few."""
    if not len(images[1]):
        return dict.fromkeys(SCORES)
    figures = strict_json.finite(dict(extractor.compare(real[0], images[0], seed)))
    distances, _ = extractor.nearest(images[0], real[0])
    return {
        "density": _rounded(figures["density"]), "coverage": _rounded(figures["coverage"]),
        "agreement": _agreement(extractor, means, tested, np.intersect1d(tested[1], means[1])),
        "nearest": _rounded(float(np.median(distances))),
    }  # fmt: skip


def _recognised(extractor: Extractor, made: Points, tested: Points) -> float | None:
    """As agreement, among all classes of which there are pictures."""
    return _agreement(extractor, made, tested, np.unique(made[1]))


def _agreement(extractor: Extractor, means: Points, tested: Points, classes: Labels) -> float | None:
    counted = np.isin(tested[1], classes)
    if len(classes) < 2 or not counted.any():
        return None
    centres = np.stack([means[0][means[1] == one].mean(axis=0) for one in classes.tolist()])
    _, nearest = extractor.nearest(tested[0][counted], centres)
    return round(float((classes[nearest] == tested[1][counted]).mean()), 4)


def _taken(points: Points, rows: Array) -> Points:
    return points[0][rows], points[1][rows]


def _rounded(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def judge_scores(reply: bytes, client_id: str, class_names: Sequence[str], most: int) -> dict[str, Any]:
    """What `probe` said, if it can be true. most: images a class that were asked for. Raises UploadError."""
    keys = {"client_id", "reference", "compared", "made", "real", "recognised", "per_class"}
    said = _read(reply, client_id, keys)
    for key in ("reference", "compared"):
        if type(said[key]) is not int or not 0 <= said[key] <= most * len(class_names):
            raise UploadValueError(f"refused: {key} is {quoted(said[key])}; expected a count of the images asked for")
    if not said["reference"]:
        raise ClientFailedError("it holds no class with two images: nothing to compare the pictures with")
    for key in ("made", "real"):
        _check_scores(said[key])
    _check_score("recognised", said["recognised"])
    classes = said["per_class"]
    if not isinstance(classes, dict) or not set(classes) <= set(class_names):
        raise UploadClassesError("refused: scores by class are not a mapping of class names")
    for one in classes.values():
        if not isinstance(one, dict) or set(one) != {"made", "real"}:
            raise UploadFormatError("refused: scores of a class are not those of pictures and of real images")
        for scores in one.values():
            _check_scores(scores)
    del said["client_id"]
    return said


def _check_scores(scores: Any) -> None:
    if not isinstance(scores, dict) or set(scores) != set(SCORES):
        raise UploadFormatError(f"refused: expected the scores {', '.join(SCORES)}")
    for name, value in scores.items():
        _check_score(name, value)


def _check_score(name: str, value: Any) -> None:
    highest = 1.0 if name in ("coverage", "agreement", "recognised") else MAX_SCORE
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # neither NaN nor infinity is within bounds
    if value is not None and not (number and 0 <= value <= highest):
        raise UploadValueError(f"refused: {name} is {quoted(value)}; expected a number from 0 to {highest:g}, or none")


def _read(reply: bytes, client_id: str, keys: set[str]) -> dict[str, Any]:
    """A reply of just these keys, from the client that was asked."""
    if len(reply) > MAX_REPLY:
        raise UploadSizeError(f"refused: a reply of {len(reply)} bytes; the cap is {MAX_REPLY}")
    said = parse(reply)
    if set(said) != keys:
        raise UploadFormatError(f"refused: a reply of {quoted(sorted(said))}; expected {', '.join(sorted(keys))}")
    if said["client_id"] != client_id:
        raise UploadSenderError(f"refused: {client_id} was asked, and {quoted(said['client_id'])} answers")
    return said
