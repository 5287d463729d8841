"""What answers about the same data cost together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fgl.privacy import gaussian

TOLERANCE = 1e-9
"""Relative error with which an ε is compared to a limit: what was computed for ε = 1 must fit into a limit of 1."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What Gaussian noise, drawn on a grid, costs. Costs of several answers are added with `+`.

    mu: of the Gaussian mechanism; answers add in squares. slack: what ε may be larger than the Gaussian mechanism's,
    since noise on a grid is not quite Gaussian (`Release.cost` has the proof); answers add. Both are for neighbours
    of the same kind, say samples or clients, which a cost does not know.

    Raises ValueError for a negative or undefined number.
    """

    mu: float
    slack: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("mu", self.mu), ("slack", self.slack)):
            if not value >= 0:
                raise ValueError(f"{name}: got {value!r}; expected a number of at least 0")

    def __add__(self, other: Cost) -> Cost:
        return Cost(gaussian.compose((self.mu, other.mu)), self.slack + other.slack)

    def epsilon(self, delta: float) -> float:
        """ε at this δ, rounding errors and the grid included. Raises ValueError as `epsilon_of`."""
        if self.slack == 0:
            return gaussian.epsilon_of(self.mu, delta)
        return gaussian.epsilon_of(self.mu, delta * math.exp(-self.slack)) + self.slack

    def fits(self, epsilon: float, delta: float) -> bool:
        """Whether it is within (epsilon, delta)."""
        return self.epsilon(delta) <= epsilon * (1 + TOLERANCE)
