"""What tests of generators share: prompts to pixels through the two halves of a generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import PlanItem, Shard
from fgl.contracts.prompts import Prompt

SEEDS = [11, 2**63 + 5, 13, 14]


def conditioning_of(arrays: Any, indices: Any, count: int) -> Conditioning:
    zeros, ones = np.zeros(count, np.int64), np.ones(count)
    own = np.full(count, np.nan)
    upload = ClientUpload("k", 0, "e", arrays, indices, zeros, ones, ("",) * count, own)
    ids = tuple(f"c{row}" for row in range(count))
    return Conditioning(ids, zeros, ones, ("",) * count, own, zeros, np.arange(count), zeros + 1, [upload])


def shard_of(seeds: Sequence[int], scales: Sequence[float | None] | None = None) -> Shard:
    scales = scales or [None] * len(seeds)
    items = (
        PlanItem(f"i{row}", row, f"c{row}", 0, "", scale, seed)
        for row, (seed, scale) in enumerate(zip(seeds, scales, strict=True))
    )
    return Shard(0, tuple(items))


def paint(subject: Any, prompts: Sequence[Prompt], scales: Sequence[float | None] | None = None) -> NDArray[np.uint8]:
    arrays, indices = subject.encoder("cpu").encode(prompts)
    rows = conditioning_of(arrays, indices, len(prompts))
    shard = shard_of(SEEDS[: len(prompts)], scales)
    return np.concatenate([b.pixels for b in subject.synthesizer("cpu").synthesize(shard, rows, lambda count: None)])


def vary(subject: Any, prompts: Sequence[Prompt], originals: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Variations of originals, uint8 [n, h, w, 3], one a prompt."""
    arrays, indices = subject.encoder("cpu").encode(prompts)
    rows, shard = conditioning_of(arrays, indices, len(prompts)), shard_of(SEEDS[: len(prompts)])
    varying = subject.varying("cpu", lambda item: originals[item.conditioning], strength)
    return np.concatenate([batch.pixels for batch in varying.synthesize(shard, rows, lambda count: None)])


def noise_images(count: int, size: Sequence[int]) -> NDArray[np.uint8]:
    """uint8 [count, h, w, 3]."""
    return np.random.default_rng(0).integers(0, 255, (count, *size, 3)).astype(np.uint8)
