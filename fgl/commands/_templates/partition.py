"""A partitioner: which client holds which of the training samples. Here they are dealt out in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fgl import Labels, Options
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `partition:`."""

    clients: int = Field(5, ge=1, description="Number of clients.")


class Mine:
    """Draws at random from the seed alone: server and clients compute it each for themselves."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → positions of its samples, sorted. Raise fgl.PartitionError, which says what option to change."""
        order = np.random.default_rng(seed).permutation(len(labels))
        parts = [sorted(order[first :: self.options.clients].tolist()) for first in range(self.options.clients)]
        return {f"client-{number:02d}": rows for number, rows in enumerate(parts)}
