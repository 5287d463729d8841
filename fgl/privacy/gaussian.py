"""Exact accounting of Gaussian mechanisms.

A mechanism that adds N(0, σ²) to each number of a vector whose L2 sensitivity is Δ is μ-GDP with μ = Δ / σ (Dong,
Roth, Su 2022, "Gaussian differential privacy", theorem 2.7). A sequence of them, each chosen with knowledge of the
earlier answers, is sqrt(Σ μᵢ²)-GDP (corollary 3.3), and μ-GDP is the same as (ε, δ(ε))-DP for every ε ≥ 0 with

    δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2)

(Balle and Wang 2018, "Improving the Gaussian mechanism", theorem 8). Both are equalities: nothing is lost to a bound,
as accountants of Rényi divergences lose some percent. Neighbours are those that Δ is stated for: with Δ = 1 for a
histogram in which each sample counts once, data sets in which one sample was added or removed.

All of it is computed in logarithms. With x = ε/μ − μ/2 and the hazard h(t) = φ(t) / Φ(−t),

    log δ = log Φ(−x) + log(1 − e^−r),   r = ∫ h(t) − t  over t from x to x + μ

so that neither a δ of 1e-300, nor an ε of 1e4, nor a μ of 1e-6 leaves only rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

_LEAST_MU, _MOST_MU = 1e-12, 1e8
"""Where `mu_of` looks. Below, the price is nothing for any purpose; above, there is no protection left to speak of."""


def delta_of(epsilon: float, mu: float) -> float:
    """The least δ for which a μ-GDP mechanism is (ε, δ)-DP. Underflows to 0 below 5e-324: see `log_delta_of`.

    Raises ValueError for a negative ε or μ.
    """
    return math.exp(log_delta_of(epsilon, mu))


def log_delta_of(epsilon: float, mu: float) -> float:
    """Natural logarithm of `delta_of`; -inf where μ is 0. Relative error below 1e-9. Raises ValueError as it does."""
    _check("epsilon", epsilon, epsilon >= 0, "a number of at least 0")
    _check("mu", mu, mu >= 0, "a number of at least 0, sensitivity / sigma")
    if mu == 0 or math.isinf(epsilon):
        return -math.inf
    if math.isinf(mu):
        return 0.0
    from scipy.special import log_ndtr

    x = epsilon / mu - mu / 2
    shrinks = _shrinks(x, mu)
    return float(log_ndtr(-x)) + (math.log(-math.expm1(-shrinks)) if shrinks > 0 else -math.inf)


def epsilon_of(mu: float, delta: float) -> float:
    """The least ε ≥ 0 for which a μ-GDP mechanism is (ε, δ)-DP; inf where δ is 0 and μ is not.

    Raises ValueError for a negative μ, or a δ that is not from 0 to below 1.
    """
    _check("mu", mu, mu >= 0, "a number of at least 0, sensitivity / sigma")
    _check("delta", delta, 0 <= delta < 1, "a number from 0 to below 1, such as 1e-5")
    if mu == 0:
        return 0.0
    if delta == 0 or math.isinf(mu):
        return math.inf
    target = math.log(delta)
    if log_delta_of(0.0, mu) <= target:
        return 0.0
    # Φ(−x) ≤ e^(−x²/2), and δ is less than that: what is wanted lies below where this bound reaches δ
    most = mu * mu / 2 + mu * math.sqrt(-2 * target) + 1e-300
    return _root(lambda epsilon: log_delta_of(epsilon, mu) - target, 0.0, most)


def mu_of(epsilon: float, delta: float) -> float:
    """The largest μ for which a μ-GDP mechanism is (ε, δ)-DP.

    Raises ValueError for a negative ε, or a δ that is not between 0 and 1: no Gaussian noise gives δ = 0.
    """
    _check("epsilon", epsilon, 0 <= epsilon < math.inf, "a finite number of at least 0")
    _check("delta", delta, 0 < delta < 1, "a number between 0 and 1, such as 1e-5 (Gaussian noise cannot give 0)")
    target = math.log(delta)

    def excess(log_mu: float) -> float:
        return max(log_delta_of(epsilon, math.exp(log_mu)), -1e300) - target

    low, high = math.log(_LEAST_MU), math.log(_MOST_MU)
    if excess(low) >= 0:
        return _LEAST_MU
    if excess(high) <= 0:
        return _MOST_MU
    # where δ is next to nothing its logarithm is in the billions: bring both ends near before interpolating
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return math.exp(_root(excess, low, high))


def sigma_of(epsilon: float, delta: float, releases: int = 1, sensitivity: float = 1.0) -> float:
    """The least standard deviation of the noise with which `releases` answers together are (ε, δ)-DP.

    Args:
        epsilon, delta: Of all the answers together.
        releases: Number of answers, each a vector with noise of its own in every number.
        sensitivity: Largest L2 distance that a neighbour makes in one answer, in the units of the answer.

    Raises ValueError as `mu_of` does, and for fewer releases than 1 or a sensitivity that is not above 0.
    """
    _check("releases", releases, releases >= 1, "a whole number of at least 1")
    _check("sensitivity", sensitivity, 0 < sensitivity < math.inf, "a finite number above 0")
    return sensitivity * math.sqrt(releases) / mu_of(epsilon, delta)


def compose(mus: Iterable[float]) -> float:
    """μ of several answers about the same data, also where each was asked with the earlier ones known. Of none: 0.

    Raises ValueError for a negative or undefined one.
    """
    listed = list(mus)
    for mu in listed:
        _check("mu", mu, mu >= 0, "a number of at least 0, sensitivity / sigma")
    return math.hypot(*listed)


def _check(name: str, value: float, holds: bool, expected: str) -> None:
    if not holds:  # not a number compares as false, so it ends here too
        raise ValueError(f"{name}: got {value!r}; expected {expected}")


_NODES = (
    (0.1834346424956498, 0.3626837833783620),
    (0.5255324099163290, 0.3137066458778873),
    (0.7966664774136267, 0.2223810344533745),
    (0.9602898564975363, 0.1012285362903763),
)
"""Of Gauss and Legendre for 8 points: distances from the middle, and weights."""
_NARROW = 0.25
"""Widths up to which quadrature is as exact as numbers are, and the difference of two values is less so."""


def _shrinks(x: float, mu: float) -> float:
    """∫ h(t) − t from x to x + μ = log(R(x) / R(x + μ)), with Mills' ratio R = 1 / h."""
    if mu <= _NARROW:
        half = mu / 2
        middle = x + half
        return half * math.fsum(
            weight * (_excess_hazard(middle - half * node) + _excess_hazard(middle + half * node))
            for node, weight in _NODES
        )
    return _log_mills(x) - _log_mills(x + mu)


def _log_mills(t: float) -> float:
    """log(Φ(−t) / φ(t))."""
    from scipy.special import erfcx, log_ndtr

    if t < -5:
        return float(log_ndtr(-t)) + t * t / 2 + math.log(2 * math.pi) / 2
    return math.log(math.sqrt(math.pi / 2) * float(erfcx(t / math.sqrt(2))))


_FAR = 50.0


def _excess_hazard(t: float) -> float:
    """h(t) − t, which is positive and falls."""
    if t > _FAR:  # the asymptotic series of Mills' ratio, inverted: h and t agree in most of their digits here
        square = t * t
        return (1 - (2 - (10 - (74 - 706 / square) / square) / square) / square) / t
    if t < -37:  # φ(t) is nothing beside |t|
        return -t
    from scipy.special import erfcx

    return math.sqrt(2 / math.pi) / float(erfcx(t / math.sqrt(2))) - t


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-300, rtol=1e-15, maxiter=500))
