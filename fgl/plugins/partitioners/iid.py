"""Equal parts of a shuffled training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.plugins.partitioners.options import IIDOptions
from fgl.plugins.partitioners.splitting import check_enough, client_ids, equal_parts

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


class IID:
    """Shuffles the samples and cuts them into parts whose sizes differ by at most one."""

    def __init__(self, options: IIDOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sorted sample positions; every sample goes to one client. labels: int64 [n].

        Raises PartitionError if there are more clients than samples."""
        clients = self.options.clients
        check_enough(len(labels), clients)
        parts = equal_parts(range(len(labels)), clients, np.random.default_rng(seed))
        return dict(zip(client_ids(clients), parts, strict=True))
