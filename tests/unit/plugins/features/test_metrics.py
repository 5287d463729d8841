"""Formulas of image quality against cases that were computed by hand, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fgl.plugins.features.metrics import compare, nearest

Points = NDArray[np.float64]


def line(*places: float) -> Points:
    """Points on a line: distances can be read off."""
    return np.array(places, dtype=np.float64)[:, None]


def cloud(count: int, seed: int, dimensions: int = 3, at: float = 0.0) -> Points:
    return np.random.default_rng(seed).standard_normal((count, dimensions)) + at


def figures(real: Points, made: Points, k: int = 5, seed: int = 0) -> dict[str, float]:
    found = compare(real, made, k, seed)
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def test_density_coverage_precision_and_recall_by_hand() -> None:
    # With k = 1 the real balls are 0±1, 1±1, 3±2, 10±7 and the made ones 0.5±1, 1.5±1, 20±18.5.
    found = figures(line(0, 1, 3, 10), line(0.5, 1.5, 20), k=1)
    # 0.5 lies in the balls of 0 and 1; 1.5 in those of 1 and 3; 20 in none.
    assert found["density"] == pytest.approx((2 + 2 + 0) / 3)
    assert found["precision"] == pytest.approx(2 / 3)
    # 0, 1 and 3 have a made point in their ball (|3 - 1.5| <= 2), 10 has not (8.5 > 7).
    assert found["coverage"] == pytest.approx(3 / 4)
    # 0 and 1 lie in the ball of 0.5, 3 and 10 in that of 20 (17 and 10 <= 18.5).
    assert found["recall"] == pytest.approx(1)


def test_density_divides_by_the_number_of_neighbors() -> None:
    # With k = 2 the real balls are 0±3, 1±2, 3±3: 0.5 lies in all three.
    found = figures(line(0, 1, 3), line(0.5, 0.6, 0.7), k=2)
    assert found["density"] == pytest.approx(3 / 2)


def test_a_set_beside_itself_is_precise_and_covers_all() -> None:
    points = cloud(40, 1)
    found = figures(points, points)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["fid"] == pytest.approx(0, abs=1e-6)
    distances, positions = nearest(points, points)
    assert distances.max() == 0
    assert positions.tolist() == list(range(40))


def test_copies_of_a_point_count_although_their_ball_has_no_width() -> None:
    real, made = np.zeros((8, 2)), np.zeros((8, 2))
    found = figures(real, made, k=3)
    assert (found["coverage"], found["precision"]) == (1, 1)


def test_a_set_that_is_far_away_has_none_of_it() -> None:
    found = figures(cloud(50, 1), cloud(50, 2, at=1000))
    assert [found[name] for name in ("density", "coverage", "precision", "recall")] == [0, 0, 0, 0]
    assert found["fid"] == pytest.approx(3 * 1000**2, rel=0.01)


def test_one_repeated_image_is_precise_and_covers_little() -> None:
    real = cloud(60, 1)
    found = figures(real, np.repeat(real[:1], 60, axis=0))
    assert found["precision"] == 1
    assert found["coverage"] < 0.5
    assert found["recall"] < 0.1


def test_coverage_of_equal_distributions_is_what_naeem_et_al_derive() -> None:
    # 1 - (N-1)…(N-k) / ((M+N-1)…(M+N-k)), whatever the distribution: equation 9 of their paper.
    n, m, k = 60, 80, 5
    expected = 1 - math.prod(n - i for i in range(1, k + 1)) / math.prod(m + n - i for i in range(1, k + 1))
    found = [figures(cloud(n, 2 * seed), cloud(m, 2 * seed + 1), k=k)["coverage"] for seed in range(60)]
    assert np.mean(found) == pytest.approx(expected, abs=0.012)


def test_density_of_equal_distributions_is_one() -> None:
    found = [figures(cloud(60, 2 * seed), cloud(80, 2 * seed + 1))["density"] for seed in range(60)]
    assert np.mean(found) == pytest.approx(1, abs=0.05)


def test_order_shift_and_turn_change_nothing() -> None:
    real, made = cloud(80, 3), 1.3 * cloud(70, 4) + 0.2
    turn, _ = np.linalg.qr(cloud(3, 5))
    straight = figures(real, made)
    order = np.random.default_rng(6)
    same = figures(real[order.permutation(80)], made[order.permutation(70)])
    moved = figures(real @ turn + 7, made @ turn + 7)
    for name in ("density", "coverage", "precision", "recall", "fid"):
        assert same[name] == pytest.approx(straight[name], abs=1e-6), name
        assert moved[name] == pytest.approx(straight[name], abs=1e-6), name


def test_scale_changes_no_share() -> None:
    real, made = cloud(80, 3), cloud(70, 4, at=0.5)
    one, other = figures(real, made), figures(1000 * real, 1000 * made)
    for name in ("density", "coverage", "precision", "recall"):
        assert other[name] == one[name]
    assert other["fid"] == pytest.approx(1e6 * one["fid"], rel=1e-6)


def test_fid_of_two_gaussians_is_the_closed_form() -> None:
    # ||mu - mu'||² + sum (sigma - sigma')² for independent dimensions
    draw = np.random.default_rng(0)
    real = draw.standard_normal((40_000, 2)) * [1, 2]
    made = draw.standard_normal((40_000, 2)) * [1.5, 2] + [1, 0]
    assert figures(real[:4000], made[:4000])["fid"] == pytest.approx(1 + 0.25, abs=0.15)


def test_fid_is_not_given_where_a_covariance_has_no_full_rank() -> None:
    few = compare(cloud(8, 1, dimensions=8), cloud(30, 2, dimensions=8), 3, 0)
    assert few["fid"] is None
    assert "8 real images for 8 features" in few["why"]["fid"]  # type: ignore[index]
    flat = cloud(50, 3)
    flat[:, 2] = 4.0
    found = compare(cloud(50, 1), flat, 3, 0)
    assert found["fid"] is None
    assert "vary in 2 of 3 features" in found["why"]["fid"]  # type: ignore[index]


def test_kid_by_hand() -> None:
    # Two points each, one dimension: k(x, y) = (x y + 1)³.
    real, made = line(0, 1), line(1, 2)
    kernel = lambda x, y: (x * y + 1) ** 3  # noqa: E731
    expected = (2 * kernel(0, 1) + 2 * kernel(1, 2)) / 2 - 2 * sum(kernel(x, y) for x in (0, 1) for y in (1, 2)) / 4
    found = compare(real, made, 1, 0)
    assert found["kid"] == pytest.approx(expected)
    assert found["kid_se"] is None
    assert "two blocks" in found["why"]["kid_se"]  # type: ignore[index]


def test_kid_of_equal_distributions_is_zero_within_its_standard_error() -> None:
    found = [figures(cloud(100, 2 * seed), cloud(100, 2 * seed + 1), seed=seed) for seed in range(80)]
    values = np.array([one["kid"] for one in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(80), "unbiased"
    # the jackknife of a degenerate statistic errs on the large side, by no more than about a half
    assert 0.9 < np.mean([one["kid_se"] for one in found]) / values.std() < 2


def test_the_standard_error_of_kid_is_the_spread_of_the_estimate() -> None:
    found = [figures(cloud(100, 2 * seed), cloud(100, 2 * seed + 1, at=1), seed=seed) for seed in range(80)]
    spread = np.std([one["kid"] for one in found])
    assert np.mean([one["kid_se"] for one in found]) == pytest.approx(spread, rel=0.35)


def test_kid_tells_two_distributions_apart() -> None:
    found = figures(cloud(100, 1), cloud(100, 2, at=1))
    assert found["kid"] > 4 * found["kid_se"]


def test_equal_seeds_give_equal_figures() -> None:
    real, made = cloud(50, 1), cloud(60, 2)
    assert compare(real, made, 5, 3) == compare(real, made, 5, 3)
    assert compare(real, made, 5, 3)["kid"] != compare(real, made, 5, 4)["kid"]


@pytest.mark.parametrize(("real", "made"), [(1, 5), (5, 1), (0, 3), (3, 0), (1, 1)])
def test_too_few_images_give_no_figure_and_say_so(real: int, made: int) -> None:
    found = compare(cloud(real, 1), cloud(made, 2), 5, 0)
    for name in ("density", "coverage", "precision", "recall", "kid", "fid"):
        assert found[name] is None
        assert found["why"][name]  # type: ignore[index]


def test_neighbors_are_as_many_as_there_can_be() -> None:
    assert compare(cloud(3, 1), cloud(50, 2), 5, 0)["k"] == 2
    assert compare(cloud(30, 1), cloud(50, 2), 5, 0)["k"] == 5


def test_large_sets_are_compared_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = cloud(50, 1), cloud(40, 2)
    whole = compare(real, made, 5, 0), nearest(made, real)[0].tolist()
    monkeypatch.setattr("fgl.plugins.features.metrics._CELLS", 130)
    assert (compare(real, made, 5, 0), nearest(made, real)[0].tolist()) == whole
