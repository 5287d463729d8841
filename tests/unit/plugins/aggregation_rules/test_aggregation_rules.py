"""Each rule by hand, and against one client of five and two of ten that send what they should not."""

from __future__ import annotations

import numpy as np
import pytest

from fgl.contracts.aggregation_rule import BUFFERS, EXTRA, WEIGHTS
from fgl.plugins.aggregation_rules.coordinates import Median, TrimmedMean
from fgl.plugins.aggregation_rules.krum import Krum
from fgl.plugins.aggregation_rules.norm_clip import NormClip
from fgl.plugins.aggregation_rules.options import KrumOptions, NormClipOptions, TrimmedMeanOptions


def trimmed(trim: int) -> TrimmedMean:
    return TrimmedMean(TrimmedMeanOptions(trim=trim))


def krum(hostile: int, keep: int = 1) -> Krum:
    return Krum(KrumOptions(hostile=hostile, keep=keep))


COLUMN = np.array([[1.0, -9.0], [2.0, 4.0], [3.0, 5.0], [4.0, 6.0], [100.0, 7.0]])


def test_the_median_and_the_trimmed_mean_of_each_number_are_those_of_pencil_and_paper() -> None:
    median = Median().apply({WEIGHTS: COLUMN}).parts[WEIGHTS]
    assert median.tolist() == [[3.0, 5.0]] * 5
    assert Median().apply({WEIGHTS: COLUMN[:4]}).parts[WEIGHTS].tolist() == [[2.5, 4.5]] * 4
    assert trimmed(1).apply({WEIGHTS: COLUMN}).parts[WEIGHTS].tolist() == [[3.0, 5.0]] * 5
    assert trimmed(2).apply({WEIGHTS: COLUMN}).parts[WEIGHTS].tolist() == [[3.0, 5.0]] * 5
    assert trimmed(1).apply({WEIGHTS: COLUMN[1:]}).parts[WEIGHTS].tolist() == [[3.5, 5.5]] * 4


def test_krum_takes_the_update_with_the_nearest_neighbors() -> None:
    """Of 0, 1, 3, 10 and 30 with one hostile, each is judged by its two nearest: 1+9, 1+4, 4+9, 49+81, 400+729."""
    rows = np.array([[0.0], [1.0], [3.0], [10.0], [30.0]])
    ruling = krum(1).apply({WEIGHTS: rows})
    assert ruling.parts[WEIGHTS].tolist() == [[1.0]] * 5
    assert ruling.left_out == (0, 2, 3, 4)
    several = krum(1, keep=2).apply({WEIGHTS: rows})
    assert several.parts[WEIGHTS].tolist() == [[0.5]] * 5
    assert several.left_out == (2, 3, 4)


def test_krum_sees_who_stands_out_in_any_part() -> None:
    """The weights of the first are in the middle of the others'; its statistics, or its variates, are not."""
    rows = np.array([[0.0], [-2.0], [-1.0], [1.0], [2.0]])
    for part in (BUFFERS, EXTRA):
        others = np.array([[9e6], [1e6], [2e6], [3e6], [2.5e6]])
        assert krum(1).apply({WEIGHTS: rows}).left_out == (1, 2, 3, 4)
        assert 0 in krum(1).apply({WEIGHTS: rows, part: others}).left_out


def test_a_norm_is_clipped_to_what_is_stated_or_to_the_median_in_each_part() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, -2.0]])
    ruling = NormClip(NormClipOptions()).apply({WEIGHTS: rows, BUFFERS: rows[::-1].copy()})
    np.testing.assert_allclose(ruling.parts[WEIGHTS], [[1.2, 1.6], [0.0, 1.0], [0.0, -2.0]])
    assert ruling.scaled == {0: 0.4, 2: 0.4}  # row 2 is the long one among the buffers
    stated = NormClip(NormClipOptions(max_norm=0.5)).apply({WEIGHTS: rows, BUFFERS: rows})
    np.testing.assert_allclose(np.linalg.norm(stated.parts[WEIGHTS], axis=1), 0.5)
    assert np.linalg.norm(stated.parts[BUFFERS], axis=1).tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("rule", "updates", "reason"),
    [
        (krum(1), 4, "krum with hostile=1 takes at least 2 x 1 + 3 = 5 updates, and a round has 4"),
        (krum(2), 6, "krum with hostile=2 takes at least 2 x 2 + 3 = 7 updates, and a round has 6"),
        (krum(1, 3), 5, "krum with hostile=1 can keep at most 5 - 1 - 2 = 2 of 5 updates, and keep is 3"),
        (trimmed(2), 4, "trimmed-mean with trim=2 leaves out 2 x 2 = 4 values, and a round has 4"),
        (Median(), 2, "a median tells nothing of fewer than 3 updates, and a round has 2"),
        (
            NormClip(NormClipOptions()),
            2,
            "norm-clip without max_norm takes the median norm of at least 3 updates, and a round has 2",
        ),
    ],
)
def test_too_few_updates_are_refused_with_the_arithmetic(rule: Krum, updates: int, reason: str) -> None:
    assert rule.refusal(updates) == reason
    assert rule.refusal(updates + 1) == ""


def test_a_stated_norm_takes_any_number_of_updates() -> None:
    assert NormClip(NormClipOptions(max_norm=1.0)).refusal(1) == ""


@pytest.mark.parametrize(("clients", "hostile"), [(5, 1), (10, 2)])
@pytest.mark.parametrize("factor", [-1.0, -10.0, 10.0, 1e9])
def test_hostile_updates_move_the_result_no_further_than_honest_ones_lie_apart(
    clients: int, hostile: int, factor: float
) -> None:
    draw = np.random.default_rng(clients)
    honest = draw.normal(1.0, 0.2, (clients - hostile, 50))
    rows = np.concatenate([np.full((hostile, 50), factor), honest])
    true, spread = honest.mean(axis=0), np.linalg.norm(honest.max(axis=0) - honest.min(axis=0))
    assert np.linalg.norm(rows.mean(axis=0) - true) > (spread if abs(factor) > 1 else 0)
    for rule in (Median(), trimmed(hostile), krum(hostile), krum(hostile, 2)):
        assert np.linalg.norm(rule.apply({WEIGHTS: rows}).parts[WEIGHTS][0] - true) < spread
    # a bound on length alone: the hostile ones count as much as honest ones, and pull in their direction
    clipped = NormClip(NormClipOptions()).apply({WEIGHTS: rows}).parts[WEIGHTS].mean(axis=0)
    assert np.linalg.norm(clipped - true) <= 2.1 * hostile / clients * np.linalg.norm(true)
