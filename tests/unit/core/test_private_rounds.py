"""What a client's update is worth in privacy: nobody moves a sum by more than the clip, and noise is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fgl.core.config.rounds_privacy import RoundsPrivacyOptions
from fgl.core.private_rounds import check_noise, clipped, noised, release
from fgl.errors import ConfigError
from fgl.privacy import Cost, default_grid, mu_of, sigma_of

DELTA = 1e-5


def options(**given: float) -> RoundsPrivacyOptions:
    return RoundsPrivacyOptions(**given)


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-3, 1.0, 1e6, 1e200, 1e307])
@pytest.mark.parametrize("clip", [0.01, 1.0, 250.0])
def test_leaving_a_client_out_moves_the_sum_by_the_clip_at_most(scale: float, clip: float) -> None:
    draw, grid = np.random.default_rng(3), default_grid(1.3 * clip)
    changes = [draw.normal(0, 1, 500) * scale / 10 for _ in range(4)]
    made = [clipped(change, clip, grid) for change in changes]
    everybody = np.sum(made, axis=0)
    for left_out in range(4):
        rest = np.sum([one for number, one in enumerate(made) if number != left_out], axis=0)
        # whole numbers of steps: exact, whatever floating point makes of a norm
        steps = [int(step) for step in (everybody - rest) / grid]
        assert sum(step * step for step in steps) <= int((clip / grid) ** 2)
    # replacing one by any other moves it by twice that at most
    assert np.linalg.norm(made[0] - made[1]) <= 2 * clip


def test_what_is_shorter_than_the_clip_is_rounded_and_nothing_else() -> None:
    grid = default_grid(1.0)
    change = np.array([0.3, -0.4, 0.0])
    np.testing.assert_allclose(clipped(change, 1.0, grid), change, atol=grid)
    assert (np.abs(clipped(change, 1.0, grid)) <= np.abs(change)).all()
    long = clipped(100 * change, 1.0, grid)
    np.testing.assert_allclose(long, 2 * change, atol=2 * grid)
    assert (np.abs(long / grid) % 1 == 0).all()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_change_that_is_not_finite_is_zeros(broken: float) -> None:
    assert clipped(np.array([broken, 1.0]), 1.0, default_grid(1.0)).tolist() == [0.0, 0.0]


def test_noise_has_the_stated_standard_deviation_in_every_number_and_in_sums() -> None:
    one = release(options(clip=0.5, noise_multiplier=3.0), 1, DELTA, 20_000)
    drawn = [noised(np.zeros(20_000), one) for _ in range(4)]
    for noise in drawn:  # five standard errors of a standard deviation
        assert np.std(noise) == pytest.approx(1.5, rel=5 / math.sqrt(2 * 20_000))
        assert abs(np.mean(noise)) < 5 * 1.5 / math.sqrt(20_000)
    assert np.std(np.sum(drawn, axis=0)) == pytest.approx(3.0, rel=5 / math.sqrt(2 * 20_000))
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 5 / math.sqrt(20_000)
    grid = default_grid(one.sigma)
    assert (drawn[0] / grid % 1 == 0).all()


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.5, 1), (1.0, 7), (8.0, 100)])
def test_all_rounds_together_cost_what_was_asked_for_and_hardly_less(epsilon: float, rounds: int) -> None:
    one = release(options(epsilon=epsilon, clip=2.0), rounds, DELTA, 100_000)
    total = Cost(0.0)
    for _ in range(rounds):
        total += one.cost
    assert total.fits(epsilon, DELTA)
    assert total.epsilon(DELTA) > 0.9999 * epsilon
    assert one.sigma == pytest.approx(2.0 * sigma_of(epsilon, DELTA, rounds), rel=1e-3)


def test_a_stated_multiplier_costs_its_inverse_in_each_round() -> None:
    one = release(options(noise_multiplier=4.0), 3, DELTA, 1000)
    assert one.cost.mu == pytest.approx(0.25, rel=1e-5)
    assert (Cost(0.0) + one.cost + one.cost).epsilon(DELTA) < Cost(2 * one.cost.mu).epsilon(DELTA)


def test_few_clients_are_refused_with_the_arithmetic() -> None:
    multiplier = 1 / mu_of(1.0, DELTA)
    with pytest.raises(ConfigError) as caught:
        check_noise(options(epsilon=1.0), 1, DELTA, 1000, 5)
    (problem,) = caught.value.problems
    assert problem.key == "rounds.privacy"
    assert problem.expected == (
        f"5 clients at epsilon 1 for 1 rounds: the noise is {multiplier / math.sqrt(5):.3g} times the largest possible "
        f"sum (5 updates add up to 5 clips at most, and their noise to {multiplier:.3g} x √5 = "
        f"{multiplier * math.sqrt(5):.3g} clips in any direction); expected at least {math.floor(multiplier**2) + 1} "
        "clients in a round, or a larger epsilon"
    )
    said = check_noise(options(noise_multiplier=2.0), 1, DELTA, 10_000, 16)
    assert said == (
        "16 clients at noise multiplier 2: 16 updates add up to 16 clips at most, and their noise to 2 x √16 = 8 clips "
        "in any direction, 0.5 times the largest possible sum; over all 10,000 weights its length is 50 times that"
    )


@pytest.mark.parametrize("given", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
def test_one_of_epsilon_and_multiplier_is_asked_for(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected epsilon or noise_multiplier, one of both"):
        options(**given)
