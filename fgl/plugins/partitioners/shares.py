"""What the partitioners have in common: how clients are called, and cutting samples into parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fgl.core.errors import PartitionError


def client_ids(count: int) -> list[str]:
    """ "client-00", "client-01", ...: as many digits as keep alphabetical order the order of numbers."""
    width = max(2, len(str(count - 1)))
    return [f"client-{number:0{width}}" for number in range(count)]


def equal_parts(positions: Sequence[int], parts: int, rng: np.random.Generator) -> list[list[int]]:
    """`positions`, shuffled and cut into parts whose sizes differ by at most one, each sorted."""
    return [sorted(part.tolist()) for part in np.array_split(rng.permutation(np.asarray(positions)), parts)]


def check_enough(samples: int, clients: int, minimum: int = 1) -> None:
    """Raises PartitionError where the samples cannot give every client `minimum`."""
    if clients * minimum > samples:
        needs = f"{minimum} each" if minimum > 1 else "one each"
        change = "lower clients or min_samples" if minimum > 1 else "lower clients"
        raise PartitionError(f"{samples} samples cannot give {clients} clients {needs}; {change}")
