"""Noise that protects: from the operating system's cryptographic source, in whole numbers alone, on a stated grid.

Floating point noise leaks: which doubles `x + noise` can become depends on x, and that alone may reveal it (Mironov
2012, "On significance of the least significant bits for differential privacy"). So values are first rounded to a
grid, multiples of a power of two, and the noise is a multiple of it too: the discrete Gaussian, drawn without any
rounding by the algorithms 1 to 3 of Canonne, Kamath and Steinke 2020 ("The discrete Gaussian for differential
privacy", arXiv 2004.00010), here for whole arrays at a time. Every decision compares whole numbers that fit 64 bits.

There is no seed on purpose. Who knows the seed can subtract the noise, and a run's seed is public. What was drawn
once is therefore the record, and cannot be made again.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FINEST, COARSEST = 24, 8
"""Binary logarithms of the most and the fewest steps of the grid in one sigma. More would not fit 64 bits; with fewer,
the discrete Gaussian is no longer as good as a Gaussian."""
_USUAL = 20
_LARGEST = 2**52
"""Steps of the grid up to which float64 has every multiple of it, with one bit to spare for the sum."""
_ROUNDS_AT_MOST = 10_000
_BATCH = 1 << 16


def default_grid(sigma: float) -> float:
    """A power of two between sigma / 2^21 and sigma / 2^20. Raises ValueError for a sigma that is not above 0."""
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma: got {sigma!r}; expected a finite number above 0")
    return float(2.0 ** (math.floor(math.log2(sigma)) - _USUAL))


def steps(sigma: float, grid: float | None = None) -> tuple[int, float]:
    """(sigma in steps of the grid, rounded up; the grid). Noise is drawn with as many steps, so never with less than
    sigma.

    Raises ValueError where the grid is not a power of two, or sigma has fewer than 256 or more than 2^24 steps of it.
    """
    usual = default_grid(sigma)
    grid = usual if grid is None else grid
    if not (0 < grid < math.inf and math.frexp(grid)[0] == 0.5):
        raise ValueError(f"grid: got {grid!r}; expected a power of two, such as {usual!r}")
    count = math.ceil(sigma / grid)  # exact: division by a power of two
    if not 2**COARSEST <= count <= 2**FINEST:
        raise ValueError(
            f"grid: got {grid!r} with sigma {sigma!r}; expected a power of two between sigma / 2^{FINEST} and sigma / "
            f"{2**COARSEST}, such as {usual!r}"
        )
    return count, grid


def on_grid(values: Array, grid: float) -> Array:
    """Each number rounded to the nearest multiple of `grid`, as int64 multiples of the same shape.

    Args:
        values: float64 or int64, any shape.
        grid: A power of two.

    Raises ValueError for another dtype, numbers that are not finite, or that are more than 2^52 steps from 0.
    """
    import numpy as np

    values = np.asarray(values)
    if values.dtype not in (np.float64, np.int64):
        raise ValueError(f"values: got dtype {values.dtype}; expected float64 or int64")
    scaled = values.astype(np.float64) / grid
    exact = values.dtype == np.float64 or bool((np.abs(values) < 2**53).all())
    if not exact or not np.isfinite(scaled).all() or bool((np.abs(scaled) > _LARGEST).any()):
        raise ValueError(f"values: expected finite numbers of at most 2^52 steps of the grid, {_LARGEST * grid:g}")
    return np.rint(scaled).astype(np.int64)


def add_noise(values: Array, sigma: float, grid: float | None = None) -> Array:
    """`values` on the grid, plus discrete Gaussian noise, as float64 of the same shape: every number is a multiple of
    `grid`.

    Args:
        values: float64 or int64, any shape. Rounding them to the grid moves each by half a step at most; `Release`
            has what that does to the sensitivity. Whole numbers on a grid of at most 1 are not moved.
        sigma: Standard deviation of the noise, in the units of the values. What is drawn has sigma rounded up to
            whole steps.
        grid: A power of two, at least 256 of which are in one sigma; None: `default_grid(sigma)`.

    Every call draws anew, from the operating system's source; there is no seed. Raises ValueError as `steps` and
    `on_grid`.
    """
    import numpy as np

    count, grid = steps(sigma, grid)
    whole = on_grid(values, grid)
    noised = whole + discrete_gaussian(count, whole.size).reshape(whole.shape)
    # within 2^53 steps for any noise that can happen: sigma has 2^24 of them at most
    return np.asarray(noised.astype(np.float64) * grid)


def discrete_gaussian(sigma: int, count: int) -> Array:
    """Independent draws of whole numbers x with a probability proportional to exp(−x² / (2 sigma²)), int64 [count].

    sigma: a whole number from 1 to 2^24. Raises ValueError otherwise.

    Algorithm 3 of Canonne, Kamath and Steinke with t = sigma: y from the discrete Laplace distribution of that scale
    is kept with probability exp(−(|y| − sigma)² / (2 sigma²)). A y beyond 100 sigma is not kept, which it would be
    with a probability below exp(−4900), having come up with one below exp(−100).
    """
    import numpy as np

    if not 1 <= sigma <= 2**FINEST:
        raise ValueError(f"sigma: got {sigma!r} steps of the grid; expected a whole number from 1 to 2^{FINEST}")
    kept: list[Array] = []
    missing = count
    while missing > 0:
        drawn = _discrete_laplace(sigma, min(2 * missing + 16, _BATCH))
        drawn = drawn[np.abs(drawn) <= 100 * sigma]
        drawn = drawn[_bernoulli_exp((np.abs(drawn) - sigma) ** 2, 2 * sigma * sigma)][:missing]
        kept.append(drawn)
        missing -= len(drawn)
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _discrete_laplace(scale: int, count: int) -> Array:
    """About a third of `count` draws of x with a probability proportional to exp(−|x| / scale), int64 (algorithm 2)."""
    import numpy as np

    low = _below(np.full(count, scale, np.int64))
    low = low[_bernoulli_exp(low, scale)]
    high = np.zeros(len(low), np.int64)
    going = np.arange(len(low))
    while len(going):
        going = going[_bernoulli_exp(np.ones(len(going), np.int64), 1)]
        high[going] += 1
    size = low + scale * high
    negative = _below(np.full(len(size), 2, np.int64)) == 1
    kept = ~(negative & (size == 0))  # else 0 would come up twice as often as it should
    return np.asarray(np.where(negative, -size, size)[kept])


def _bernoulli_exp(numerator: Array, denominator: int) -> Any:
    """Whether each of independent events of probability exp(−numerator / denominator) happened, bool (algorithm 1)."""
    import numpy as np

    whole, rest = np.divmod(numerator, denominator)
    happened = _bernoulli_exp_of_share(rest, denominator)
    # exp(−whole) is `whole` events of probability 1/e, all of which must happen
    left = np.where(happened, whole, 0)
    going = np.flatnonzero(left)
    while len(going):
        one = _bernoulli_exp_of_share(np.ones(len(going), np.int64), 1)
        happened[going[~one]] = False
        left[going] -= 1
        going = going[one & (left[going] > 0)]
    return happened


def _bernoulli_exp_of_share(numerator: Array, denominator: int) -> Any:
    """`_bernoulli_exp` for numerators up to the denominator: the parity of the length of a run of rarer and rarer
    events.
    """
    import numpy as np

    length = np.ones(len(numerator), np.int64)
    going = np.arange(len(numerator))
    for step in range(1, _ROUNDS_AT_MOST):
        if not len(going):
            return length % 2 == 1
        # numerator / (denominator * step), exactly
        goes_on = _below(np.full(len(going), denominator * step, np.int64)) < numerator[going]
        going = going[goes_on]
        length[going] += 1
    raise AssertionError("the operating system's random numbers are all zero")


def _below(bounds: Array) -> Array:
    """A uniform whole number from 0 to below each bound, int64: what does not fit a whole number of times is drawn
    again.
    """
    import numpy as np

    ends = bounds.astype(np.uint64)
    made = np.zeros(len(bounds), np.uint64)
    missing = np.arange(len(bounds))
    while len(missing):
        drawn = np.frombuffer(os.urandom(8 * len(missing)), np.uint64)
        end = ends[missing]
        most = np.uint64(2**64 - 1)
        # of 2^64 numbers, the last (2^64 mod end) would make small remainders likelier
        fair = drawn <= most - (most % end + np.uint64(1)) % end
        made[missing[fair]] = drawn[fair] % end[fair]
        missing = missing[~fair]
    return made.astype(np.int64)
