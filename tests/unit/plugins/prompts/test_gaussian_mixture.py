"""Gaussians fitted to points: moments of one, and the parts of several."""

from __future__ import annotations

import numpy as np
import pytest

from fgl.plugins._symmetric import lower_triangle
from fgl.plugins.prompts.gaussian_mixture import fit_mixture

RNG_SEED = 3


def points(count: int = 400) -> np.ndarray:
    """Two clouds of three features, a quarter of the points in the first."""
    draw = np.random.default_rng(0)
    far = np.where(np.arange(count)[:, None] < count // 4, -4.0, 4.0)
    return far + draw.standard_normal((count, 3)) * np.array([0.5, 1.0, 0.2])


def fitted(values: np.ndarray, components: int, kind: str, floor: float = 1e-6) -> list:
    return fit_mixture(values, components, kind, floor, np.random.default_rng(RNG_SEED))


def test_one_gaussian_has_the_moments_of_the_points() -> None:
    values = points()
    (full,) = fitted(values, 1, "full")
    factor = lower_triangle(full.spread, 3)
    np.testing.assert_allclose(full.mean, values.mean(axis=0))
    np.testing.assert_allclose(factor @ factor.T, np.cov(values.T, bias=True), rtol=1e-5, atol=1e-5)
    (diagonal,) = fitted(values, 1, "diagonal")
    np.testing.assert_allclose(diagonal.spread, values.std(axis=0), rtol=1e-5)
    (spherical,) = fitted(values, 1, "spherical")
    np.testing.assert_allclose(spherical.spread, [np.sqrt(values.var(axis=0).mean())], rtol=1e-5)


@pytest.mark.parametrize("kind", ["spherical", "diagonal", "full"])
def test_two_gaussians_find_two_clouds(kind: str) -> None:
    found = sorted(fitted(points(), 2, kind), key=lambda one: one.mean[0])
    assert [round(one.share, 2) for one in found] == [0.25, 0.75]
    for one, place in zip(found, (-4, 4), strict=True):
        np.testing.assert_allclose(one.mean, place, atol=0.25)
        assert np.abs(one.spread).max() < 1.3


def test_few_points_get_few_gaussians_and_shares_sum_to_one() -> None:
    assert len(fitted(points(7), 5, "diagonal")) == 1
    many = fitted(points(40), 5, "diagonal")
    assert 1 < len(many) <= 5
    assert sum(one.share for one in many) == pytest.approx(1)


def test_equal_points_are_a_gaussian_as_wide_as_the_floor() -> None:
    for components in (1, 2):
        for one in fitted(np.ones((9, 3)), components, "diagonal", floor=0.04):
            np.testing.assert_allclose(one.spread, 0.2)
    (single,) = fitted(np.ones((1, 3)), 4, "full", floor=0.04)
    np.testing.assert_allclose(lower_triangle(single.spread, 3), 0.2 * np.eye(3))


def test_equal_seeds_give_equal_gaussians() -> None:
    first, second = fitted(points(), 3, "full"), fitted(points(), 3, "full")
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.spread, other.spread)
