"""Rules that look at each number by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregation_rule import Ruling
from fgl.plugins.aggregation_rules.options import TrimmedMeanOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class Median:
    """Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, definition 1.

    The median of each number over the updates; of an even count, the mean of the two in the middle. Less than half of
    the updates cannot move a number beyond what the others say of it. Unweighted.
    """

    def refusal(self, updates: int) -> str:
        return "" if updates >= 3 else f"a median tells nothing of fewer than 3 updates, and a round has {updates}"

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        return Ruling({name: _in_every_row(np.median(rows, axis=0), rows) for name, rows in parts.items()})


class TrimmedMean:
    """Yin et al. 2018, definition 2: the mean of each number without its `trim` largest and `trim` smallest values.

    The paper trims a share β of the values at each end; here it is β n, a count. Unweighted.
    """

    def __init__(self, options: TrimmedMeanOptions) -> None:
        self.options = options

    def refusal(self, updates: int) -> str:
        trim = self.options.trim
        if 2 * trim < updates:
            return ""
        return f"trimmed-mean with trim={trim} leaves out 2 x {trim} = {2 * trim} values, and a round has {updates}"

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        trim = self.options.trim
        made = {}
        for name, rows in parts.items():
            last = len(rows) - trim
            ordered = np.partition(rows, (trim, last - 1), axis=0)
            made[name] = _in_every_row(ordered[trim:last].mean(axis=0), rows)
        return Ruling(made)


def _in_every_row(result: Array, rows: Array) -> Array:
    return np.broadcast_to(result, rows.shape)
