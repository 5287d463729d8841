"""Updates of rounds at a stated price: what clients and the server agree on, and the mathematics of it.

Each client clips the change of all trained weights together to the norm `clip` and adds Gaussian noise of its own to
every number, so that what leaves it is private whoever gets it (McMahan et al. 2018, "Learning differentially private
recurrent language models", has the clipping, the fixed denominator and the client as the unit; there the server adds
the noise, here nobody has to be trusted). Without the client its change would be zeros, so it moves the vector by
`clip` at most. That a share of the clients is drawn for a round makes nothing cheaper here: the server draws it, and
the seed is public.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fgl.errors import ConfigError, Problem
from fgl.privacy import Cost, Release, add_noise, default_grid, sigma_of

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.core.config.rounds_privacy import RoundsPrivacyOptions

_GRID = 1.00001
"""Noise on a grid is not quite Gaussian: so much more of it, as often as it takes, makes up for that."""
_ROUNDING = 1 - 1e-9
"""Clipped vectors are shorter by this than `clip`: more than a norm in float64 can be wrong by."""
_STREAM = "rounds.privacy"


def release(options: RoundsPrivacyOptions, rounds: int, delta: float, numbers: int) -> Release:
    """What a client's update in one round is, for its price.

    Args:
        options: How much is clipped, and how much noise there is.
        rounds: Rounds that `options.epsilon` is for.
        delta: δ of `options.epsilon`.
        numbers: Trained weights, from 1.
    """
    clip = options.clip
    if options.noise_multiplier is not None:
        return Release(options.noise_multiplier * clip, clip, numbers, whole=True)
    assert options.epsilon is not None
    sigma = sigma_of(options.epsilon, delta, rounds, clip)
    found = Release(sigma, clip, numbers, whole=True)
    while not _of_all(found, rounds).fits(options.epsilon, delta):
        sigma *= _GRID
        found = Release(sigma, clip, numbers, whole=True)
    return found


def _of_all(one: Release, rounds: int) -> Cost:
    """As a ledger adds up so many of them."""
    return Cost(one.cost.mu * math.sqrt(rounds), one.cost.slack * rounds)


def clipped(change: Array, clip: float, grid: float) -> Array:
    """A change of norm `clip` at most, each number a multiple of `grid`; zeros where it is not finite.

    Args:
        change: float64 [d].
        clip: Largest L2 norm, in the units of the change.
        grid: A power of two.

    Numbers are rounded towards zero, so that rounding makes nothing longer.
    """
    if not np.isfinite(change).all():
        return np.zeros_like(change)
    largest = float(np.abs(change).max(initial=0.0))
    if largest == 0:
        return np.zeros_like(change)
    norm = largest * float(np.linalg.norm(change / largest))  # squares of huge numbers would be infinite
    shortened = change * min(1.0, clip * _ROUNDING / norm)
    return np.asarray(np.trunc(shortened / grid) * grid)


def noised(change: Array, one: Release) -> Array:
    """What may leave a client: its change clipped, with noise that is drawn anew in each call. float64 [d]."""
    grid = default_grid(one.sigma)
    return add_noise(clipped(change, one.sensitivity, grid), one.sigma, grid)


def check_noise(options: RoundsPrivacyOptions, rounds: int, delta: float, numbers: int, clients: int) -> str:
    """What the noise does to the sum of a round's updates, in words, with the arithmetic.

    Args:
        options, rounds, delta, numbers: As for `release`.
        clients: That are asked in a round.

    Raises ConfigError where the noise is as large as the largest sum that there can be, in any direction: then the
    rounds are noise alone.
    """
    multiplier = release(options, rounds, delta, numbers).sigma / options.clip
    stated = (
        f"epsilon {options.epsilon:g} for {rounds} rounds" if options.epsilon else f"noise multiplier {multiplier:g}"
    )
    ratio = multiplier / math.sqrt(clients)
    sum_ = (
        f"{clients} updates add up to {clients} clips at most, and their noise to {multiplier:.3g} x "
        f"√{clients} = {multiplier * math.sqrt(clients):.3g} clips in any direction"
    )
    if ratio >= 1:
        expected = (
            f"{clients} clients at {stated}: the noise is {ratio:.3g} times the largest possible sum ({sum_}); "
            f"expected at least {math.floor(multiplier**2) + 1} clients in a round, or a larger epsilon"
        )
        raise ConfigError([Problem(_STREAM, "", expected)])
    return (
        f"{clients} clients at {stated}: {sum_}, {ratio:.3g} times the largest possible sum; over all {numbers:,} "
        f"weights its length is {ratio * math.sqrt(numbers):.3g} times that"
    )
