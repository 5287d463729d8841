"""Updates of bounded length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregation_rule import WEIGHTS, Ruling
from fgl.plugins.aggregation_rules.options import NormClipOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class NormClip:
    """Sun et al. 2019, Can You Really Backdoor Federated Learning?, section 3.3: each update is scaled down to a norm.

    A bound on length is no bound on direction: a client with its sign flipped still takes back what another one adds.
    Each part has a norm of its own. Weighted, as the algorithm weights what is left.
    """

    def __init__(self, options: NormClipOptions) -> None:
        self.options = options

    def refusal(self, updates: int) -> str:
        if self.options.max_norm is not None or updates >= 3:
            return ""
        return f"norm-clip without max_norm takes the median norm of at least 3 updates, and a round has {updates}"

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        made: dict[str, Array] = {}
        smallest = np.ones(len(next(iter(parts.values()))))
        for name, rows in parts.items():
            norms = np.linalg.norm(rows, axis=1)
            most = self.options.max_norm if name == WEIGHTS and self.options.max_norm is not None else None
            most = self.options.factor * float(np.median(norms)) if most is None else most
            factors = np.minimum(1.0, most / np.maximum(norms, 1e-300))
            made[name] = rows * factors[:, None]
            smallest = np.minimum(smallest, factors)
        scaled = {row: float(factor) for row, factor in enumerate(smallest) if factor < 1}
        return Ruling(made, scaled=scaled)
