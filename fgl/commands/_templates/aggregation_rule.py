"""An aggregation rule: what takes the place of a round's updates. Here numbers are clipped to those of the middle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fgl import Array, Options, Ruling
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `rounds.aggregation:`."""

    share: float = Field(0.25, gt=0, lt=0.5, description="Share of the values at each end that count as the next one.")


class Mine:
    """Winsorizes: each number is brought to between two quantiles of what all updates say of it."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def refusal(self, updates: int) -> str:
        return "" if updates >= 3 else f"quantiles tell nothing of fewer than 3 updates, and a round has {updates}"

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        share = self.options.share
        clipped = {}
        for name, rows in parts.items():
            low, high = np.quantile(rows, [share, 1 - share], axis=0)
            clipped[name] = np.clip(rows, low, high)
        return Ruling(clipped)
