"""The rule that changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgl.contracts.aggregation_rule import Ruling

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class Mean:
    """Leaves the updates to the algorithm, which averages them by its own weights. One hostile client can move that
    average anywhere (Blanchard et al. 2017, lemma 1)."""

    def refusal(self, updates: int) -> str:
        return ""

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        return Ruling(parts)
