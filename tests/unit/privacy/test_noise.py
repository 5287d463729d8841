"""Noise on a grid, from the operating system: its distribution, its bounds, and that no seed reaches it.

Every statistical test fails by chance less than once in 10^10 times: thresholds are quantiles, not habits.
"""

from __future__ import annotations

import math
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fgl.privacy import Cost, Release, add_noise, default_grid, delta_of, discrete_gaussian, epsilon_of, on_grid
from fgl.privacy.noise import _below, _bernoulli_exp, _discrete_laplace

CHANCE = 1e-11


def _probabilities(sigma: int, most: int) -> np.ndarray:
    """Of −most … most, and at the ends all that lies beyond."""
    reach = np.arange(-40 * sigma, 40 * sigma + 1)
    weights = np.exp(-(reach.astype(float) ** 2) / (2 * sigma**2))
    return np.bincount(np.clip(reach, -most, most) + most, weights / weights.sum())


@pytest.mark.parametrize(("sigma", "most"), [(1, 3), (2, 6), (7, 20)])
def test_draws_are_distributed_as_the_paper_says(sigma: int, most: int) -> None:
    count = 60_000
    seen = np.bincount(np.clip(discrete_gaussian(sigma, count), -most, most) + most, minlength=2 * most + 1)
    statistic = ((seen - count * _probabilities(sigma, most)) ** 2 / (count * _probabilities(sigma, most))).sum()
    assert statistic < stats.chi2.isf(CHANCE, 2 * most)


def test_draws_on_a_fine_grid_are_normal() -> None:
    count, sigma = 100_000, 3.73
    drawn = add_noise(np.zeros(count), sigma)
    z = stats.norm.isf(CHANCE / 2)
    assert abs(drawn.mean()) < z * sigma / math.sqrt(count)
    low, high = stats.chi2.ppf(CHANCE / 2, count), stats.chi2.isf(CHANCE / 2, count)
    assert low < (drawn**2).sum() / sigma**2 < high * 1.00001
    bins = np.bincount(np.minimum((stats.norm.cdf(drawn / sigma) * 50).astype(int), 49), minlength=50)
    assert ((bins - count / 50) ** 2 / (count / 50)).sum() < stats.chi2.isf(CHANCE, 49)


def test_neighbouring_draws_have_nothing_to_do_with_each_other() -> None:
    drawn = add_noise(np.zeros(100_000), 1.0)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < stats.norm.isf(CHANCE / 2) / math.sqrt(len(drawn))


def test_the_parts_of_the_sampler_have_their_probabilities() -> None:
    count, z = 100_000, stats.norm.isf(CHANCE / 2)
    for numerator, denominator in ((0, 1), (1, 3), (1, 1), (7, 3)):
        p = math.exp(-numerator / denominator)
        share = _bernoulli_exp(np.full(count, numerator, np.int64), denominator).mean()
        assert abs(share - p) <= z * math.sqrt(p * (1 - p) / count)
    uniform = _below(np.full(count, 3, np.int64))
    assert ((np.bincount(uniform) - count / 3) ** 2 / (count / 3)).sum() < stats.chi2.isf(CHANCE, 2)
    laplace = _discrete_laplace(2, count)
    p0 = (1 - math.exp(-0.5)) / (1 + math.exp(-0.5))
    assert abs((laplace == 0).mean() - p0) <= z * math.sqrt(p0 * (1 - p0) / len(laplace))


def test_bounds_beyond_half_of_64_bits_are_drawn_fairly() -> None:
    bound = 3 * 2**61  # two in eight of all 64-bit numbers must be drawn again
    thirds = np.bincount(_below(np.full(30_000, bound, np.int64)) // 2**61, minlength=3)
    assert ((thirds - 10_000) ** 2 / 10_000).sum() < stats.chi2.isf(CHANCE, 2)


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    sigma=st.floats(1e-3, 1e3),
    exponent=st.integers(9, 22),
)
@settings(deadline=None, max_examples=50)
def test_all_that_comes_out_is_on_the_grid(values: list[float], sigma: float, exponent: int) -> None:
    grid = 2.0 ** (math.floor(math.log2(sigma)) - exponent)
    noised = add_noise(np.array(values), sigma, grid)
    assert noised.dtype == np.float64
    assert np.array_equal(noised / grid, np.rint(noised / grid))
    assert np.abs(noised - values).max() < 100 * sigma


def test_whole_numbers_stay_as_they_are_before_the_noise() -> None:
    counts = np.array([[0, 7], [-3, 2**30]], np.int64)
    grid = default_grid(1.87)
    assert np.array_equal(on_grid(counts, grid) * grid, counts)
    assert add_noise(counts, 1.87).shape == (2, 2)


def test_two_calls_differ_and_no_seed_and_no_fork_brings_noise_back() -> None:
    drawn = []
    for _ in range(2):
        random.seed(0)
        np.random.seed(0)
        drawn.append(discrete_gaussian(2**20, 8).tolist())
    assert drawn[0] != drawn[1]
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, discrete_gaussian(2**20, 8).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        assert file.read() != discrete_gaussian(2**20, 8).tobytes()


def test_nothing_of_any_generator_of_random_numbers_is_used() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()
    add_noise(np.zeros(100), 1.0)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


def test_no_numbers_are_an_empty_array() -> None:
    assert add_noise(np.zeros((0, 4)), 1.0).shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add_noise(np.zeros(2), 0.0), "sigma: got 0.0; expected a finite number above 0"),
        (lambda: add_noise(np.zeros(2), 1.0, 0.1), "grid: got 0.1; expected a power of two"),
        (lambda: add_noise(np.zeros(2), 1.0, 0.5), "grid: got 0.5 with sigma 1.0; expected a power of two between"),
        (lambda: add_noise(np.zeros(2), 1.0, 2.0**-40), "grid: got .* with sigma 1.0"),
        (lambda: add_noise(np.zeros(2, np.float32), 1.0), "values: got dtype float32; expected float64 or int64"),
        (lambda: add_noise(np.array([math.nan]), 1.0), "values: expected finite numbers of at most"),
        (lambda: add_noise(np.array([1e300]), 1.0), "values: expected finite numbers of at most"),
        (lambda: add_noise(np.array([2**62 + 1], np.int64), 2.0**40), "values: expected finite numbers"),
        (lambda: discrete_gaussian(0, 3), "sigma: got 0 steps"),
        (lambda: Release(1.0, coordinates=0), "coordinates: got 0"),
        (lambda: Release(1.0, sensitivity=-1.0), "sensitivity: got -1.0"),
        (lambda: Cost(-1.0), "mu: got -1.0"),
    ],
)
def test_what_cannot_be_noised_is_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_grid_costs_next_to_nothing_and_is_counted() -> None:
    price = Release(1.87, coordinates=1_000_000).cost
    assert 0 < price.slack < 1e-6
    assert 1 / 1.87 < price.mu * 1.000001 < 1.01 / 1.87
    assert price.epsilon(1e-5) > epsilon_of(price.mu, 1e-5)
    coarse = Release(1.0, coordinates=1_000_000, grid=2.0**-9).cost
    assert coarse.slack > 0.9
    assert coarse.mu > 2.9  # a thousand half steps of 1/512, twice


def test_counts_are_not_moved_by_rounding_and_cost_no_more_than_the_formula() -> None:
    whole = Release(4.0, whole=True, coordinates=10).cost
    assert whole.mu == pytest.approx(0.25, rel=1e-15)
    assert whole.fits(epsilon_of(0.25, 1e-5), 1e-5)


def test_costs_add_in_squares_and_slack_adds_up() -> None:
    total = Cost(3, 0.1) + Cost(4, 0.2)
    assert total.mu == pytest.approx(5)
    assert total.slack == pytest.approx(0.3)
    three = Release(1.87, whole=True, releases=3).cost
    one = Release(1.87, whole=True).cost
    assert (one + one + one).mu == pytest.approx(three.mu)


@pytest.mark.parametrize("sigma", [256, 1000])
def test_the_discrete_mechanism_is_as_private_as_its_cost_says(sigma: int) -> None:
    """Of noise with few steps, δ by the sum over all outcomes (Canonne, Kamath, Steinke 2020, theorem 7)."""
    shift = sigma // 2
    k = np.arange(-60 * sigma, 60 * sigma + 1, dtype=float)
    p = np.exp(-(k**2) / (2 * sigma**2))
    q = np.exp(-((k - shift) ** 2) / (2 * sigma**2))
    total = p.sum()
    cost = Release(float(sigma), float(shift), whole=True, grid=1.0).cost
    for epsilon in (0.1, 0.5, 1.0):
        exact = np.maximum(p - math.exp(epsilon) * q, 0).sum() / total
        assert exact == pytest.approx(delta_of(epsilon, cost.mu), rel=0.02)
        assert exact <= math.exp(cost.slack) * delta_of(max(epsilon - cost.slack, 0), cost.mu)
