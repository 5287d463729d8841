"""Clients with different mixes of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fgl.errors import PartitionError
from fgl.plugins.partitioners.options import DirichletOptions
from fgl.plugins.partitioners.splitting import check_enough, client_ids

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


class Dirichlet:
    """Divides each class in Dirichlet(beta) shares, with the balancing rule of NIID-Bench (Li et al. 2022).

    Class by class, a client that already has n/clients samples or more gets none of the class, and the shares of the
    others are scaled up to one. The whole draw is repeated until every client has min_samples.

    Measured on 3500 samples in 10 balanced classes, draws that give every client 10 samples: at beta 0.01, 92 % with
    5 clients, 25 % with 8, 11 % with 10, 5 % with 12, none of 20000 with 20; at beta 0.1, 57 % with 20; at beta 0.5,
    all with 20. Clients well beyond the number of classes need a larger beta.
    """

    def __init__(self, options: DirichletOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sorted sample positions; every sample goes to one client. labels: int64 [n].

        Raises PartitionError if no draw of max_tries gives every client min_samples."""
        options = self.options
        check_enough(len(labels), options.clients, options.min_samples)
        rng = np.random.default_rng(seed)
        classes, sizes = np.unique(labels, return_counts=True)
        best = 0
        for _ in range(options.max_tries):
            counts = draw_counts(sizes, options.clients, options.beta, rng)
            smallest = int(counts.sum(axis=0).min())
            if smallest >= options.min_samples:
                return self._deal(labels, classes, counts, rng)
            best = max(best, smallest)
        raise PartitionError(
            f"no draw in {options.max_tries} gave each of {options.clients} clients {options.min_samples} samples at "
            f"beta {options.beta:g}: in the best one the smallest client had {best}; raise beta, lower clients or "
            f"lower min_samples ({len(labels)} samples in {len(classes)} classes)"
        )

    def _deal(
        self, labels: Labels, classes: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
    ) -> dict[str, list[int]]:
        """Hand out shuffled members of each class. counts: int64 [classes, clients]."""
        parts: list[list[int]] = [[] for _ in range(self.options.clients)]
        for label, row in zip(classes, counts, strict=True):
            members = rng.permutation(np.flatnonzero(labels == label))
            for part, share in zip(parts, np.split(members, np.cumsum(row)[:-1]), strict=True):
                part.extend(share.tolist())
        return dict(zip(client_ids(self.options.clients), (sorted(part) for part in parts), strict=True))


def draw_counts(sizes: NDArray[np.int64], clients: int, beta: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many samples of each class each client gets in one draw: int64 [classes, clients], rows sum to `sizes`.

    NIID-Bench draws shares for all clients, sets those of full clients to zero and renormalises. In distribution that
    is a Dirichlet over the clients that are not full, which is drawn here directly. At small beta all remaining shares
    can be exactly 0 in floating point, and the original then divides 0 by 0 (9 % of draws with 5 clients at beta 0.01).
    """
    limit = sizes.sum() / clients
    totals = np.zeros(clients, dtype=np.int64)
    counts = np.zeros((len(sizes), clients), dtype=np.int64)
    for row, size in enumerate(sizes):
        # Never empty: before the last class fewer than n samples are dealt, so some client is below n / clients.
        free = np.flatnonzero(totals < limit)
        shares = rng.dirichlet(np.full(len(free), beta))
        cuts = (np.cumsum(shares)[:-1] * size).astype(np.int64)
        counts[row, free] = np.diff(cuts, prepend=0, append=size)
        totals += counts[row]
    return counts
