"""Membership inference worked out by hand, and against distributions whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from fgl.core.privacy import lira
from fgl.core.report.intervals import Interval, student, wilson


def drawn(shadows: int, samples: int, gap: float, seed: int = 0, difficulty: float = 2.0) -> tuple[np.ndarray, ...]:
    """Log-odds of samples that are more and less difficult, shifted by `gap` for members, with unit noise."""
    draw = np.random.default_rng(seed)
    members = lira.divide(np.zeros(samples, dtype=np.int64), shadows, seed)
    level = difficulty * draw.standard_normal(samples)
    odds = level + gap * members + draw.standard_normal((shadows, samples))
    return odds[:, :, None], members


def test_every_sample_is_in_half_of_the_sets_and_every_stratum_is_halved() -> None:
    strata = np.repeat([0, 1, 2, 7], [10, 5, 1, 40])
    members = lira.divide(strata, 6, 3)
    assert (members.sum(axis=0) == 3).all()
    assert (members[0::2] == ~members[1::2]).all(), "a pair divides the samples"
    for one in np.unique(strata):
        counts = members[:, strata == one].sum(axis=1)
        assert set(counts) <= {int((strata == one).sum()) // 2, -(-int((strata == one).sum()) // 2)}
    assert (members == lira.divide(strata, 6, 3)).all()
    assert (members != lira.divide(strata, 6, 4)).any()
    assert (members[0] != members[2]).any()


@pytest.mark.parametrize("shadows", [0, 2, 5])
def test_shadow_models_come_in_pairs(shadows: int) -> None:
    with pytest.raises(ValueError, match="even number, 4 or more"):
        lira.divide(np.zeros(8, dtype=np.int64), shadows, 0)


def test_log_odds_are_those_of_the_softmax_and_hold_where_it_is_1() -> None:
    logits, labels = np.random.default_rng(0).normal(0, 3, (50, 4)), np.arange(50) % 4
    p = np.exp(logits)[np.arange(50), labels] / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(lira.log_odds(logits, labels), np.log(p / (1 - p)))
    np.testing.assert_allclose(lira.loss(lira.log_odds(logits, labels)), -np.log(p))
    sure = np.array([[900.0, 0.0, 0.0], [0.0, 900.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(lira.log_odds(sure, np.array([0, 0])), [900 - math.log(2), -900.0])


def test_the_ratio_worked_out_by_hand() -> None:
    # pairs (0, 1), (2, 3), (4, 5), one sample and one query; the target is 0
    odds = np.array([2.0, 9.0, 1.0, -1.0, 3.0, -2.0]).reshape(6, 1, 1)
    members = np.array([True, False, True, False, True, False]).reshape(6, 1)
    # as a member: 1 and 3, mean 2, variance 2; as none: -1 and -2, mean -1.5, variance 0.5. The 9 is its counterpart's
    inside, outside = norm(2, math.sqrt(2)).logpdf(2), norm(-1.5, math.sqrt(0.5)).logpdf(2)
    assert lira.ratios(odds, members, 0) == pytest.approx(inside - outside)
    # mirrored, the same sample may say something else: the mean of both counts
    both = np.concatenate([odds, odds[::-1]], axis=2)
    alone = lira.ratios(odds[::-1].copy(), members, 0)
    assert lira.ratios(both, members, 0) == pytest.approx((inside - outside + alone) / 2)


def test_one_variance_is_pooled_within_samples_where_shadow_models_are_few() -> None:
    odds, members = drawn(8, 400, 0.0, difficulty=50.0)
    near = lira.ratios(odds, members, 0)
    # differences between samples are not noise of a model: taken for it, every ratio would be near 0
    assert near.std() > 0.3


def test_the_curve_and_its_area_worked_out_by_hand() -> None:
    scores = np.array([5.0, 4.0, 3.0, 3.0, 1.0])
    members = np.array([True, False, True, False, False])
    rates, hits = lira.curve(scores, members)
    np.testing.assert_allclose(rates, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(hits, [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(lira.rate_at((rates, hits), [0, 0.5]), [0.5, 0.75])
    # 5 is above three non-members; 3 is above one and level with one
    assert lira.area(scores, members) == pytest.approx((3 + 1.5) / 6)
    assert lira.balanced(scores, members, 3.0) == pytest.approx(((1 + 0.5) / 2 + (0 + 0.5 + 1) / 3) / 2)


def test_equal_scores_are_at_chance_to_the_last_bit() -> None:
    members = lira.divide(np.zeros(100, dtype=np.int64), 8, 0)
    odds = np.repeat(np.random.default_rng(0).normal(0, 5, (1, 100, 2)), 8, axis=0)
    for figures in lira.measure(odds, members)["lira"]:
        assert figures.auc == figures.balanced == 0.5
        assert figures.tpr == pytest.approx(list(lira.RATES))
        np.testing.assert_allclose(figures.curve, lira.GRID)


def test_the_attack_reaches_what_the_distributions_allow() -> None:
    """Two normal distributions a gap of g apart: AUC Φ(g / √2), TPR at FPR a of Φ(g - z(1 - a)), less what estimating
    the means from 63 models costs."""
    odds, members = drawn(128, 2000, 1.5)
    found = [lira.attack(odds, members, target) for target in range(6)]
    auc = np.mean([one["lira"].auc for one in found])
    assert auc == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=0.015)
    tpr = np.mean([one["lira"].tpr for one in found], axis=0)
    assert tpr[:2] == pytest.approx([norm.cdf(1.5 - norm.ppf(1 - a)) for a in (0.1, 0.01)], abs=0.03)
    balanced = np.mean([one["lira"].balanced for one in found])
    assert balanced == pytest.approx(norm.cdf(0.75), abs=0.015)
    # one threshold for all samples mixes what is a member with what is easy
    flat = np.mean([one["loss"].auc for one in found])
    assert flat == pytest.approx(norm.cdf(1.5 / math.sqrt(2 * (1 + 4))), abs=0.02)
    assert flat < auc - 0.1


@pytest.mark.parametrize("shadows", [4, 6, 8, 16])
def test_a_model_that_leaks_nothing_is_at_chance_however_few_the_shadow_models(shadows: int) -> None:
    odds, members = drawn(shadows, 20_000, 0.0)
    each = lira.measure(odds, members)
    for name in ("lira", "loss"):
        figures = lira.summarize(each[name], 10_000)
        assert figures.auc.mean == pytest.approx(0.5, abs=0.006)
        assert figures.balanced.mean == pytest.approx(0.5, abs=0.006)
        assert figures.tpr["0.1"].mean == pytest.approx(0.1, abs=0.006)


def test_chance_at_a_false_positive_rate_is_a_little_above_it_where_non_members_are_few() -> None:
    draw = np.random.default_rng(0)
    members = np.arange(240) < 180
    found = [lira.rate_at(lira.curve(draw.standard_normal(240), members), [0.0, 0.1]) for _ in range(4000)]
    assert np.mean(found, axis=0) == pytest.approx([1 / 61, 7 / 61], abs=0.002)


def test_with_the_targets_counterpart_a_model_that_leaks_nothing_would_come_out_below_chance() -> None:
    """Why both of a pair are left out (docs/privacy.md has the figure)."""
    odds, members = drawn(4, 20_000, 0.0)
    found = []
    for target in range(4):
        others = [one for one in range(4) if one != target]
        inside, values = members[others], odds[others, :, 0]
        means = [np.where(part, values, 0).sum(axis=0) / part.sum(axis=0) for part in (inside, ~inside)]
        seen = odds[target, :, 0]
        found.append(lira.area((seen - means[1]) ** 2 - (seen - means[0]) ** 2, members[target]))
    assert np.mean(found) == pytest.approx(0.41, abs=0.01)


def test_rates_that_the_non_members_cannot_resolve_are_left_out() -> None:
    odds, members = drawn(4, 120, 1.0)
    figures = lira.summarize(lira.measure(odds, members)["lira"], 60)
    assert figures.tpr["0.01"] is None
    assert figures.tpr["0.001"] is None
    assert figures.tpr["0.1"] is not None
    assert len(figures.curve) == len(lira.GRID)


def test_differences_are_paired_by_target() -> None:
    odds, members = drawn(8, 500, 0.0)
    strong = odds + 2 * members[:, :, None]
    one, other = (lira.measure(values, members)["lira"] for values in (strong, odds))
    found = lira.difference(one, other).auc
    assert found.mean == pytest.approx(np.mean([a.auc - b.auc for a, b in zip(one, other, strict=True)]))
    assert 0 < found.low < found.mean < found.high


def test_intervals() -> None:
    assert student([0.1]) == Interval(mean=0.1, low=None, high=None)
    interval = student([1.0, 2.0, 3.0])
    assert (interval.low, interval.high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    for count, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ):
        share = wilson(count, total)
        assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0).share is None
