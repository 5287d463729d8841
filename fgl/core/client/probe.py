"""A client compares pictures with its own images; scores leave it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import Subset
from fgl.contracts.progress import NullProgress
from fgl.core import seeds
from fgl.core.client import policy
from fgl.core.client import site as client_site
from fgl.core.client.evaluation import fit_context
from fgl.core.data import decode, halves
from fgl.core.wire.replies import SCORES
from fgl.core.wire.requests import opened
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.features import Extractor

    Points = tuple[Array, Labels]


# --- probing a generator at the client ------------------------------------------------------------------------------


def probe(payload: bytes) -> bytes:
    """How pictures of the server's lie among a few images of the client's own, in a stated feature space. Scores leave
    it: in all, and for classes of which at least `evaluation.min_images` were looked at.

    The same scores of as many other images of its own stand beside them."""
    request, arrays = opened(payload)
    return strict_json.dumps(judged(policy.allowed(request, "probe"), arrays)).encode()


def judged(request: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, object]:
    """What `probe` answers. request: one that is allowed. arrays: `features` and `labels` of the pictures, and the
    space's own as `state/…`."""
    site = client_site.site_of(request)
    config, client_id, most = site.config, request["client_id"], int(request["per_class"])
    state = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
    extractor = site.space.extractor(state, site.classifier, fit_context(request["device"], site))
    rows = _few(site, client_id, request["learnt"], most)
    reference, held_out = ([row for pair in rows.values() for row in pair[part]] for part in (0, 1))
    if not held_out:
        return {**_NOTHING, "client_id": client_id}
    size = (request["size"][0], request["size"][1])
    decoded = decode(Subset(site.train, [*reference, *held_out]), size, NullProgress(), "decode")
    points = extractor.features(decoded.pixels, NullProgress())
    count = len(reference)
    real_ones, tested = (points[:count], decoded.labels[:count]), (points[count:], decoded.labels[count:])
    made = arrays["features"], arrays["labels"]
    pictures = _taken(made, _as_many(made[1], tested[1]))
    seed = seeds.client_seed(config.seed, client_id, 0)
    scores: dict[str, object] = {
        "client_id": client_id,
        "reference": len(reference),
        "compared": len(pictures[1]),
        "made": _scores(extractor, real_ones, pictures, pictures, tested, seed),
        "real": _scores(extractor, real_ones, tested, real_ones, tested, seed),
    }
    scores["recognized"] = _recognized(extractor, made, tested)
    per_class: dict[str, object] = {}
    for class_id in np.unique(tested[1]).tolist():
        inner, drawn, others = (_taken(points, points[1] == class_id) for points in (real_ones, pictures, tested))
        if min(len(inner[1]), len(drawn[1]), len(others[1])) >= config.evaluation.min_images:
            per_class[site.class_names[class_id]] = {
                "made": _scores(extractor, inner, drawn, drawn, others, seed),
                "real": _scores(extractor, inner, others, inner, others, seed),
            }
    return {**scores, "per_class": per_class}


# An answer and no error: of an error the server learns no more than its class.
_NOTHING: dict[str, object] = {
    "reference": 0,
    "compared": 0,
    "made": dict.fromkeys(SCORES),
    "real": dict.fromkeys(SCORES),
    "recognized": None,
    "per_class": {},
}


def _few(site: client_site.Site, client_id: str, learnt: bool, most: int) -> dict[int, tuple[list[int], list[int]]]:
    """Class → (positions of reference images, of as many others) among what the client holds, `most` each at most.
    learnt: whether the space learnt on half of the training images (a simulation without public ones): those are left
    out, because it knows them too well."""
    held = site.positions(client_id)
    if learnt:
        held = np.intersect1d(held, halves(site.train.labels, site.config.seed)[1])
    draw = np.random.default_rng([seeds.client_seed(site.config.seed, client_id, 0), 3])
    drawn = {}
    labels = site.train.labels[held]
    for class_id in np.unique(labels).tolist():
        rows = draw.permutation(held[labels == class_id])
        count = min(most, len(rows) // 2)
        if count:
            drawn[class_id] = (rows[:count].tolist(), rows[count : 2 * count].tolist())
    return drawn


def _as_many(classes: Labels, wanted: Labels) -> Labels:
    """Positions in `classes`: of each class as many as `wanted` has, as far as there are."""
    positions = [
        np.flatnonzero(classes == label)[: int((wanted == label).sum())] for label in np.unique(wanted).tolist()
    ]
    return np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)


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
        "density": _rounded(figures["density"]),
        "coverage": _rounded(figures["coverage"]),
        "agreement": _agreement(extractor, means, tested, np.intersect1d(tested[1], means[1])),
        "nearest": _rounded(float(np.median(distances))),
    }


def _recognized(extractor: Extractor, made: Points, tested: Points) -> float | None:
    """As agreement, among all classes of which there are pictures."""
    return _agreement(extractor, made, tested, np.unique(made[1]))


def _agreement(extractor: Extractor, means: Points, tested: Points, classes: Labels) -> float | None:
    counted = np.isin(tested[1], classes)
    if len(classes) < 2 or not counted.any():
        return None
    centers = np.stack([means[0][means[1] == label].mean(axis=0) for label in classes.tolist()])
    _, nearest = extractor.nearest(tested[0][counted], centers)
    return round(float((classes[nearest] == tested[1][counted]).mean()), 4)


def _taken(points: Points, rows: Array) -> Points:
    return points[0][rows], points[1][rows]


def _rounded(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)
