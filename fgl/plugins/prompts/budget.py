"""Limits the number of prompts: less diversity for a smaller upload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.errors import ModelError
from fgl.plugins.prompts.options import BudgetOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.prompts import ClientContext, Prompt

    Floats = NDArray[np.float64]


_CHUNK = 32  # prompts that are encoded together: an embedding of 77 tokens is 300 KB, its mean 4
_ROUNDS = 50


def fit_budget(prompts: Sequence[Prompt], options: BudgetOptions, context: ClientContext) -> list[Prompt]:
    """Keep at most `max_per_class` prompts of each class, in their order, without changing the weight of a class.

    If prompts of a class have domains, the domains share the number by their weights, and each keeps at least one. The
    choice does not depend on the order of the prompts, and is determined by context.seed. Raises ModelError if
    embeddings are to be clustered and the generator's encoder yields none that can be.
    """
    if options.max_per_class is None:
        return list(prompts)
    totals: dict[int, float] = {}
    groups: dict[tuple[int, str], list[int]] = {}
    for position, prompt in enumerate(prompts):
        totals[prompt.class_id] = totals.get(prompt.class_id, 0.0) + prompt.weight
        groups.setdefault((prompt.class_id, prompt.domain or ""), []).append(position)
    weights: dict[int, float] = {}
    for (class_id, domain), positions in groups.items():
        held = sum(prompts[position].weight for position in positions)
        limit = max(1, int(options.max_per_class * held / totals[class_id] + 1e-9))
        if len(positions) <= limit:
            weights |= {position: prompts[position].weight for position in positions}
            continue
        # by text: neither a draw nor a cluster may depend on the order of the images
        positions = sorted(positions, key=lambda position: (prompts[position].text, prompts[position].negative or ""))
        group = [prompts[position] for position in positions]
        share = np.array([prompt.weight for prompt in group])
        if options.choose == "clustered":
            kept = _clustered(_features(group, context), share, limit, _random(context.seed, class_id, domain))
        else:
            if options.choose == "sampled":
                drawn = _random(context.seed, class_id, domain).choice(
                    len(group), limit, replace=False, p=share / share.sum()
                )
            else:
                drawn = np.lexsort((np.arange(len(group)), -share))[:limit]
            kept = {int(row): float(share[row] * held / share[drawn].sum()) for row in drawn}
        weights |= {positions[row]: weight for row, weight in kept.items()}
    return [replace(prompts[position], weight=weights[position]) for position in sorted(weights)]


def medoids(points: Floats, weights: Floats, count: int, random: np.random.Generator) -> list[int]:
    """Rows of `points` [n, d] that are nearest to the centres of a weighted k-means, sorted.

    Args:
        points: [n, d].
        weights: [n].
        count: Number of rows; fewer are returned if fewer points are distinct.
        random: Source of the initial centres.
    """
    chosen = _plus_plus(points, weights, count, random)
    centres = points[chosen]
    nearest = assign(points, centres)
    for _ in range(_ROUNDS):
        centres = np.stack(
            [
                np.average(points[nearest == k], axis=0, weights=weights[nearest == k])
                if (nearest == k).any()
                else centre
                for k, centre in enumerate(centres)
            ]
        )
        again = assign(points, centres)
        if (again == nearest).all():
            break
        nearest = again
    rows = []
    for k, centre in enumerate(centres):
        members = np.flatnonzero(nearest == k)
        if len(members):
            rows.append(int(members[((points[members] - centre) ** 2).sum(axis=1).argmin()]))
    return sorted(rows)


def _clustered(points: Floats, weights: Floats, count: int, random: np.random.Generator) -> dict[int, float]:
    """Medoid → the weight of the points nearest to it."""
    rows = medoids(points, weights, count, random)
    nearest = assign(points, points[rows])
    nearest[rows] = np.arange(len(rows))  # of two equal points each keeps itself
    return {row: float(weights[nearest == k].sum()) for k, row in enumerate(rows)}


def _features(prompts: Sequence[Prompt], context: ClientContext) -> Floats:
    """prompt_embeds, each as the mean over its tokens: [n, d]."""
    means = []
    for start in range(0, len(prompts), _CHUNK):
        # without guidance no negative prompt is encoded beside it
        chunk = [replace(prompt, negative=None, guidance_scale=1.0) for prompt in prompts[start : start + _CHUNK]]
        arrays = context.encode(chunk)
        if "prompt_embeds" not in arrays:
            raise ModelError(
                f"choose: clustered needs an encoder that yields prompt_embeds, and this generator's yields "
                f"{', '.join(arrays) or 'nothing'}; expected choose: frequent or sampled"
            )
        rows = np.asarray(arrays["prompt_embeds"], dtype=np.float64)
        means.append(rows.reshape(len(rows), -1, rows.shape[-1]).mean(axis=1))
    points = np.concatenate(means)
    return np.asarray(points - points.mean(axis=0))  # the common mean would only cost precision


def _plus_plus(points: Floats, weights: Floats, count: int, random: np.random.Generator) -> list[int]:
    """Initial rows, far from each other (k-means++)."""
    rows = [int(random.choice(len(points), p=weights / weights.sum()))]
    distance = ((points - points[rows[0]]) ** 2).sum(axis=1)
    while len(rows) < count:
        odds = distance * weights
        if not odds.sum() > 0:
            break
        rows.append(int(random.choice(len(points), p=odds / odds.sum())))
        distance = np.minimum(distance, ((points - points[rows[-1]]) ** 2).sum(axis=1))
    return rows


def assign(points: Floats, centres: Floats) -> NDArray[np.int64]:
    """For each point the nearest centre, the first of equals."""
    # squared distances, less the square of the point, which is the same for all centres
    distance = (centres**2).sum(axis=1)[:, None] - 2 * centres @ points.T
    return np.asarray(distance.argmin(axis=0), dtype=np.int64)


def _random(seed: int, class_id: int, domain: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/budget/{class_id}/{domain}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


__all__ = ["assign", "fit_budget", "medoids"]
