"""The exact price of Gaussian noise, against other people's accounting, high precision, and brute force."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl.privacy import compose, delta_of, epsilon_of, log_delta_of, mu_of, sigma_of

TABLE = json.loads((Path(__file__).parent / "dp_accounting.json").read_text())
"""Written by tools/dp_accounting_table.py with dp-accounting, which cannot be installed beside what fgl is tested
with.
"""


def test_deltas_are_those_of_dp_accounting() -> None:
    for sigma, epsilon, delta in TABLE["delta"]:
        assert delta_of(epsilon, 1 / sigma) == pytest.approx(delta, rel=1e-6)


def test_sigmas_are_those_of_dp_accounting() -> None:
    for epsilon, delta, sigma in TABLE["sigma"]:
        assert sigma_of(epsilon, delta) == pytest.approx(sigma, rel=1e-6)


def test_composition_is_that_of_dp_accounting() -> None:
    for sigma, count, delta, epsilon in TABLE["composed"]:  # that one rounds its privacy losses to 1e-4
        assert epsilon_of(compose([1 / sigma] * count), delta) == pytest.approx(epsilon, rel=1e-6)


def _reference(epsilon: float, mu: float) -> mpmath.mpf:
    """log δ by the formula as Balle and Wang have it, with as many digits as its cancellation needs."""
    with mpmath.workprec(300 + int(3 * (epsilon / mu) ** 2)):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)

        def phi(z: mpmath.mpf) -> mpmath.mpf:
            return mpmath.erfc(-z / mpmath.sqrt(2)) / 2

        return mpmath.log(phi(-e / m + m / 2) - mpmath.exp(e) * phi(-e / m - m / 2))


CASES = [
    (epsilon, mu)
    for epsilon, mu in itertools.product(
        (0, 1e-9, 1e-3, 0.1, 1, 10, 100, 1e4), (1e-6, 1e-3, 0.2499, 0.2501, 1, 3, 10, 100, 1000)
    )
    if epsilon / mu < 70
]


@pytest.mark.parametrize(("epsilon", "mu"), CASES)
def test_delta_is_right_to_twelve_digits_of_its_logarithm(epsilon: float, mu: float) -> None:
    expected = float(_reference(epsilon, mu))
    assert log_delta_of(epsilon, mu) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_delta_below_what_a_float_can_hold_has_its_logarithm() -> None:
    assert delta_of(100, 0.5) == 0
    # φ(x) · 0.5 / x² at x = 199.75, and a little less
    assert log_delta_of(100, 0.5) == pytest.approx(-(199.75**2) / 2 - 0.919 + math.log(0.5 / 199.75**2), abs=0.01)
    assert log_delta_of(epsilon_of(0.5, 1e-300), 0.5) == pytest.approx(math.log(1e-300), rel=1e-9)


@pytest.mark.parametrize(("epsilon", "delta"), [(1, 1e-5), (4, 1e-5), (1e4, 1e-300), (1e-6, 1e-10), (100, 0.9)])
def test_mu_and_epsilon_undo_each_other(epsilon: float, delta: float) -> None:
    assert epsilon_of(mu_of(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-9)


def test_the_figures_of_the_literature() -> None:
    assert sigma_of(1, 1e-5) == pytest.approx(3.73, abs=0.005)
    assert sigma_of(4, 1e-5, releases=3) == pytest.approx(1.87, abs=0.005)


reals = st.floats(0.05, 20)
smalls = st.floats(1e-12, 0.1)


@given(sigma=reals, more=st.floats(1.01, 5), delta=smalls, releases=st.integers(1, 100))
@settings(deadline=None, max_examples=100)
def test_more_noise_costs_less_and_more_answers_cost_more(
    sigma: float, more: float, delta: float, releases: int
) -> None:
    mu = math.sqrt(releases) / sigma
    assert epsilon_of(mu / more, delta) <= epsilon_of(mu, delta)
    assert epsilon_of(math.sqrt(releases + 1) / sigma, delta) >= epsilon_of(mu, delta)


@given(epsilon=st.floats(0.01, 50), delta=smalls, releases=st.integers(1, 50), sensitivity=st.floats(0.01, 100))
@settings(deadline=None, max_examples=100)
def test_sigma_keeps_what_was_asked_for(epsilon: float, delta: float, releases: int, sensitivity: float) -> None:
    sigma = sigma_of(epsilon, delta, releases, sensitivity)
    assert epsilon_of(compose([sensitivity / sigma] * releases), delta) == pytest.approx(epsilon, rel=1e-8)
    assert epsilon_of(compose([sensitivity / (0.999 * sigma)] * releases), delta) > epsilon


@given(mus=st.lists(st.floats(0, 10), max_size=6))
def test_composition_knows_no_order_and_nothing_is_free(mus: list[float]) -> None:
    assert compose(mus) == pytest.approx(compose(reversed(mus)))
    assert compose([*mus, 1]) == pytest.approx(compose([compose(mus), 1]))
    assert compose(mus) >= max(mus, default=0)


@given(epsilon=st.floats(0, 20), mu=st.floats(0.01, 10))
@settings(deadline=None, max_examples=100)
def test_delta_falls_with_epsilon_and_grows_with_mu(epsilon: float, mu: float) -> None:
    assert log_delta_of(epsilon + 0.1, mu) < log_delta_of(epsilon, mu) < log_delta_of(epsilon, mu * 1.1) <= 0


def _histogram(votes: tuple[int, ...], bins: int) -> tuple[int, ...]:
    return tuple(votes.count(one) for one in range(bins))


def test_one_vote_more_or_less_moves_a_histogram_by_one_and_replacing_one_by_root_two() -> None:
    bins, most = 3, 3
    voters = [votes for count in range(most + 1) for votes in itertools.product(range(bins), repeat=count)]
    added = {math.dist(_histogram(v, bins), _histogram((*v, extra), bins)) for v in voters for extra in range(bins)}
    assert added == {1.0}
    replaced = {
        math.dist(_histogram(v, bins), _histogram((*v[:-1], other), bins)) for v in voters if v for other in range(bins)
    }
    assert max(replaced) == pytest.approx(math.sqrt(2))


def test_the_price_of_a_histogram_is_the_largest_hockey_stick_over_all_neighbours() -> None:
    sigma, epsilon = 1.5, 0.5
    # of noised counts in two bins, δ at ε by integration over a fine lattice, where one vote was added to the first
    lattice = [i / 8 for i in range(-80, 89)]

    def density(x: float, y: float, a: int, b: int) -> float:
        return math.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)

    found = []
    for a, b in ((1, 0), (0, 1)):
        for one, other in (((0, 0), (a, b)), ((a, b), (0, 0))):
            excess = (
                max(density(x, y, *one) - math.exp(epsilon) * density(x, y, *other), 0)
                for x in lattice
                for y in lattice
            )
            found.append(sum(excess) / 64)
    assert max(found) == pytest.approx(delta_of(epsilon, 1 / sigma), rel=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delta_of(-1, 1), "epsilon: got -1; expected a number of at least 0"),
        (lambda: delta_of(math.nan, 1), "epsilon: got nan"),
        (lambda: delta_of(1, -1), "mu: got -1; expected a number of at least 0, sensitivity / sigma"),
        (lambda: epsilon_of(1, 1), "delta: got 1; expected a number from 0 to below 1, such as 1e-5"),
        (lambda: mu_of(1, 0), r"delta: got 0; expected a number between 0 and 1, such as 1e-5 \(Gaussian noise cannot"),
        (lambda: mu_of(-0.1, 1e-5), "epsilon: got -0.1; expected a finite number of at least 0"),
        (lambda: sigma_of(1, 1e-5, 0), "releases: got 0; expected a whole number of at least 1"),
        (lambda: sigma_of(1, 1e-5, 1, 0.0), "sensitivity: got 0.0; expected a finite number above 0"),
        (lambda: compose([1, -2]), "mu: got -2"),
    ],
)
def test_numbers_that_mean_nothing_are_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_ends_of_the_scale() -> None:
    assert delta_of(0, 0) == delta_of(5, 0) == 0
    assert epsilon_of(0, 0) == 0
    assert epsilon_of(1, 0) == math.inf
    assert delta_of(1, math.inf) == 1
    assert compose([]) == 0
