"""Clients that differ in domain: one hospital, one camera, one drawing style each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.errors import PartitionError
from fgl.plugins.partitioners.options import DomainOptions
from fgl.plugins.partitioners.splitting import equal_parts, named_ids

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


class DomainPartitioner:
    """One client per domain, in the order of the domains' names; or, with `clients`, equal parts of each domain.

    Clients are named after their domains, in characters that a file name may have: "hospital-e" for "Hospital E"; if
    several clients divide a domain, "hospital-e-0" and "hospital-e-1".
    """

    def __init__(self, options: DomainOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sorted sample positions; every sample goes to one client. domains: n names.

        Raises PartitionError: no domains, clients not a multiple of their number, a domain too small to divide."""
        if domains is None or not len(domains):
            raise PartitionError("this dataset has no domains; choose the partitioner iid or dirichlet instead")
        members: dict[str, list[int]] = {name: [] for name in sorted(set(domains))}
        for index, name in enumerate(domains):
            members[name].append(index)
        clients = self.options.clients or len(members)
        each, rest = divmod(clients, len(members))
        if rest or not each:
            raise PartitionError(
                f"{clients} clients cannot share {len(members)} domains evenly; set clients to a multiple of "
                f"{len(members)}, or leave it out (domains: {', '.join(members)})"
            )
        rng = np.random.default_rng(seed)
        parts: list[list[int]] = []
        for name, positions in members.items():
            if len(positions) < each:
                raise PartitionError(
                    f"the domain '{name}' has {len(positions)} samples for {each} clients; lower clients"
                )
            parts += equal_parts(positions, each, rng)
        return dict(zip(named_ids(list(members), each), parts, strict=True))
