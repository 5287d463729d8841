"""What one noised array costs, with the grid that its noise was drawn on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fgl.privacy import noise
from fgl.privacy.cost import Cost

_TAIL = 1000.0
"""−log of the probability that is set aside in `Release.cost`: e^-1000 is below any δ, times any e^ε, that makes
sense.
"""


@dataclass(frozen=True, slots=True)
class Release:
    """Answers that were, or are to be, noised by `add_noise(values, sigma, grid)`.

    sigma: standard deviation of the noise, in the units of the values. sensitivity: largest L2 distance between the
    *unrounded* values of two neighbours. coordinates: numbers in one answer. whole: whether the values are multiples
    of the grid as they are, such as counts, and rounding moves none. releases: how many such answers, each with noise
    of its own.
    grid: as for `add_noise`.

    Raises ValueError where a number is out of bounds.
    """

    sigma: float
    sensitivity: float = 1.0
    coordinates: int = 1
    whole: bool = False
    releases: int = 1
    grid: float | None = None

    def __post_init__(self) -> None:
        noise.steps(self.sigma, self.grid)
        for name, value in (("coordinates", self.coordinates), ("releases", self.releases)):
            if value < 1:
                raise ValueError(f"{name}: got {value!r}; expected a whole number of at least 1")
        if not 0 < self.sensitivity < math.inf:
            raise ValueError(f"sensitivity: got {self.sensitivity!r}; expected a finite number above 0")

    @property
    def cost(self) -> Cost:
        """μ, and what the grid adds to ε. With the default grid that is below 1e-6 for a million numbers.

        Rounding moves each number by half a step at most, so two neighbours' values are √coordinates steps farther
        apart at most. A normal variable that is rounded to the grid after it was added to values on the grid is
        post-processing of the Gaussian mechanism: it costs μ and nothing else. The discrete Gaussian that is drawn in
        its place has probabilities P(k) = φ(k) / Z for k steps, φ the normal density of s steps; the rounded normal
        variable has Q(k) = φ(k) E[exp(−u²/2s²) cosh(ku/s²)], u uniform from −½ to ½. From 1 ≤ Z and 1 ≤ cosh(a) ≤
        exp(a²/2),

            P(k) ≤ exp(1/8s²) Q(k),    Q(k) ≤ Z exp(k²/8s⁴) P(k),    log Z < 3 exp(−2π²s²) (Poisson's sum)

        and Σk² over d numbers is above s² (√(d + 2√(dL) + 2L) + √d/2s)² with a probability below e^−L (Laurent and
        Massart 2000, lemma 1). So (ε, δ) of the Gaussian mechanism becomes (ε + slack, δ e^slack), slack the sum of
        both exponents.
        """
        count, grid = noise.steps(self.sigma, self.grid)
        drawn = count * grid
        moved = 0.0 if self.whole else grid * math.sqrt(self.coordinates)
        numbers = self.coordinates * self.releases
        reach = math.sqrt(numbers + 2 * math.sqrt(numbers * _TAIL) + 2 * _TAIL) + math.sqrt(numbers) / (2 * count)
        slack = (numbers + reach * reach) / (8 * count * count) + numbers * 3 * math.exp(
            -2 * math.pi**2 * count * count
        )
        return Cost(math.sqrt(self.releases) * (self.sensitivity + moved) / drawn, slack)
