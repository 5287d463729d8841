"""How many images each conditioning gets, and who each image is.

An image is (conditioning id, k): its seed follows from that and the run's seed, never from the batch, the worker or the
attempt, so that the same image comes out wherever and whenever it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import Conditioning
from fgl.contracts.generator import PlanItem, Shard
from fgl.core.seeds import image_seed

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Divide `total` in proportion to positive weights, by largest remainder; of equal remainders the first wins."""
    exact = np.asarray(weights, dtype=np.float64) / float(np.sum(weights)) * total
    counts = np.floor(exact).astype(int)
    missing = total - int(counts.sum())
    for index in np.argsort(-(exact - counts), kind="stable")[:missing]:
        counts[index] += 1
    return [int(count) for count in counts]


def image_id(conditioning_id: str, k: int) -> str:
    """32 hex digits."""
    return hashlib.sha256(f"{conditioning_id}/{k}".encode()).hexdigest()[:32]


def redraw(item: PlanItem, run_seed: int) -> PlanItem:
    """The same image's next draw: another seed in the same slot."""
    draw = item.draw + 1
    return replace(item, draw=draw, seed=image_seed(run_seed, item.image_id, draw))


def make_plan(
    conditioning: Conditioning,
    images_per_class: int,
    run_seed: int,
    shard_size: int,
    group: Callable[[int], str] | None = None,
) -> list[Shard]:
    """Every class that has a conditioning gets `images_per_class`, divided by weight. Items are ordered by class,
    conditioning and k, and cut into shards in that order. group: row → what its images are ordered by before that."""
    items: list[PlanItem] = []
    for class_id in np.unique(conditioning.class_id).tolist():
        rows = np.flatnonzero(conditioning.class_id == class_id)
        counts = shares(conditioning.weight[rows].tolist(), images_per_class)
        for row, count in zip(rows.tolist(), counts, strict=True):
            guidance = float(conditioning.guidance_scale[row])
            for k in range(count):
                image = image_id(conditioning.ids[row], k)
                items.append(
                    PlanItem(
                        image_id=image,
                        conditioning=row,
                        conditioning_id=conditioning.ids[row],
                        class_id=class_id,
                        domain=conditioning.domain[row],
                        guidance_scale=None if np.isnan(guidance) else guidance,
                        seed=image_seed(run_seed, image),
                    )
                )
    if group is not None:
        items.sort(key=lambda item: group(item.conditioning))
    return cut(items, shard_size)


def each_row(conditioning: Conditioning, images: int, run_seed: int, shard_size: int) -> list[Shard]:
    """As many images of every row, in the order of the rows, whatever the rows weigh."""
    items = []
    for row, (conditioning_id, class_id) in enumerate(zip(conditioning.ids, conditioning.class_id, strict=True)):
        guidance = float(conditioning.guidance_scale[row])
        own = None if np.isnan(guidance) else guidance
        for k in range(images):
            name, domain = image_id(conditioning_id, k), conditioning.domain[row]
            seed = image_seed(run_seed, name)
            items.append(PlanItem(name, row, conditioning_id, int(class_id), domain, own, seed))
    return cut(items, shard_size)


def list_rows(conditioning: Conditioning, run_seed: int, shard_size: int) -> list[Shard]:
    """One item for each row: the plan of a product that is not synthesized. Items are known by their weight too, since
    that is what is kept of them."""
    items = []
    for row, (conditioning_id, weight) in enumerate(zip(conditioning.ids, conditioning.weight.tolist(), strict=True)):
        name = image_id(f"{conditioning_id}/{float(weight).hex()}", 0)
        class_id, domain = int(conditioning.class_id[row]), conditioning.domain[row]
        items.append(PlanItem(name, row, conditioning_id, class_id, domain, None, image_seed(run_seed, name)))
    return cut(items, shard_size)


def cut(items: Sequence[PlanItem], shard_size: int) -> list[Shard]:
    """Items as shards, in their order."""
    return [Shard(n, tuple(items[i : i + shard_size])) for n, i in enumerate(range(0, len(items), shard_size))]


def validation_mask(image_ids: Sequence[str], class_ids: Sequence[int], fraction: float) -> Array:
    """bool [n]: within each class, the `fraction` with the smallest digests of their ids; at least one stays for
    training. Which images these are does not depend on the other classes."""
    mask = np.zeros(len(image_ids), dtype=bool)
    keys = np.array([hashlib.sha256(f"validation/{name}".encode()).hexdigest() for name in image_ids])
    classes = np.asarray(class_ids)
    for class_id in np.unique(classes).tolist():
        rows = np.flatnonzero(classes == class_id)
        count = min(round(fraction * len(rows)), len(rows) - 1)
        mask[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return mask


def set_digest(images: Iterable[tuple[str, int, bytes]]) -> str:
    """sha256 over (image_id, class, raw RGB) ordered by image id: what the set holds, not how its files are written."""
    digest = hashlib.sha256()
    rows = sorted((image, class_id, hashlib.sha256(rgb).digest()) for image, class_id, rgb in images)
    for image, class_id, rgb in rows:
        digest.update(f"{image}/{class_id}/".encode() + rgb)
    return digest.hexdigest()
