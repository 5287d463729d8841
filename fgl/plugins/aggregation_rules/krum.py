"""Krum: trust the update that lies nearest to most others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregation_rule import Ruling
from fgl.plugins.aggregation_rules.options import KrumOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class Krum:
    """Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, section 4.

    The score of an update is the sum of its squared distances to the n - f - 2 nearest others. The update with the
    lowest score takes the place of all; with `keep` above 1 the mean of those with the lowest scores (multi-Krum,
    section 4, m = `keep`). Of equal scores the first in order of client id wins. Unweighted.

    The paper has gradients alone. Here an update has parts of different scales, so the squared distances of each part
    are divided by their median over all pairs before they are added: whoever stands out in one part, such as
    BatchNorm's statistics, is as far away as one who stands out in the weights. What is kept is kept in every part.
    """

    def __init__(self, options: KrumOptions) -> None:
        self.options = options

    def refusal(self, updates: int) -> str:
        hostile, keep = self.options.hostile, self.options.keep
        if updates < 2 * hostile + 3:
            least = 2 * hostile + 3
            sum_ = f"2 x {hostile} + 3 = {least}"
            return f"krum with hostile={hostile} takes at least {sum_} updates, and a round has {updates}"
        most = updates - hostile - 2
        if keep > most:
            sum_ = f"{updates} - {hostile} - 2 = {most}"
            return f"krum with hostile={hostile} can keep at most {sum_} of {updates} updates, and keep is {keep}"
        return ""

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        count = len(next(iter(parts.values())))
        distances = np.zeros((count, count))
        for rows in parts.values():
            distances += _relative(_squared_distances(rows))
        np.fill_diagonal(distances, np.inf)
        nearest = np.sort(distances, axis=1)[:, : count - self.options.hostile - 2]
        order = np.argsort(nearest.sum(axis=1), kind="stable")
        kept = np.sort(order[: self.options.keep])
        made = {name: np.broadcast_to(rows[kept].mean(axis=0), rows.shape) for name, rows in parts.items()}
        return Ruling(made, tuple(sorted(set(range(count)) - set(kept.tolist()))))


def _squared_distances(rows: Array) -> Array:
    """float64 [n, n]. One pair at a time: squares of differences lose nothing to cancellation, and take no n² d."""
    found = np.zeros((len(rows), len(rows)))
    for one in range(len(rows)):
        for other in range(one):
            difference = rows[one] - rows[other]
            found[one, other] = found[other, one] = difference @ difference
    return found


def _relative(distances: Array) -> Array:
    """Distances by the median over all pairs; by the least that is above 0 where most pairs are equal."""
    pairs = distances[np.triu_indices(len(distances), 1)]
    scale = float(np.median(pairs)) or float(min(pairs[pairs > 0], default=1.0))
    return np.asarray(distances / scale)
