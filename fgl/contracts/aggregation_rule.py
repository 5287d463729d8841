"""Aggregation rules: what takes the place of a round's updates before the algorithm averages them.

Shapes: n updates of a round, in the order of their clients' ids; d numbers of a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array

WEIGHTS, BUFFERS, EXTRA = "weights", "buffers", "extra"
"""Parts of an update: the change of what an optimizer trains; that of floating-point buffers such as BatchNorm's
running statistics; and the arrays that the algorithm sends beside the model, such as a change of control variates."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an aggregation rule makes of a round's updates."""

    parts: Mapping[str, Array]
    """Name → float64 [n, d], as they were handed in: row i takes the place of update i. A rule that has one result puts
    it into every row, and the weights of the clients have no effect."""

    left_out: tuple[int, ...] = ()
    """Rows of updates that have no part in the result."""

    scaled: Mapping[int, float] = field(default_factory=dict)
    """Row → the factor, from 0 to below 1, by which its update was scaled down; the smallest one of its parts."""


class AggregationRule(Protocol):
    """Stands between the updates of a round and the algorithm, which averages what takes their place. Runs at the
    server. It knows nothing of clients, weights or what the numbers mean, and keeps nothing between rounds."""

    def refusal(self, updates: int) -> str:
        """Why so few updates cannot be put together, with the arithmetic; "" where they can."""

    def apply(self, parts: Mapping[str, Array]) -> Ruling:
        """Decide what takes the place of each update.

        Args:
            parts: Name → float64 [n, d], finite; "weights", "buffers" and "extra", those that are not empty. Not
                written to. n is a number that `refusal` does not refuse.
        """
