"""A test split for data without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


def hold_out(labels: Labels, domains: Sequence[str] | None, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions to train on and positions to test on, each sorted; the same for the same arguments.

    Stratified: within each class every domain contributes its share. A class with two or more samples has at least one
    on either side; a class with a single sample is trained on.

    Args:
        labels: Class ids, int64 [n].
        domains: n names, or None.
        fraction: Share of the test split, 0 to 1.
        seed: Seed of the random choice.
    """
    rng = np.random.default_rng(seed)
    test: set[int] = set()
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label)).tolist()
        if len(members) < 2:
            continue
        if domains is not None:
            members.sort(key=lambda index: domains[index])  # stable: the order inside a domain stays random
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        # Evenly spaced positions in an order sorted by domain take from each domain in proportion.
        test.update(members[int((step + 0.5) * len(members) / count)] for step in range(count))
    return [index for index in range(len(labels)) if index not in test], sorted(test)
