"""What every aggregation rule must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fgl.contracts.aggregation_rule import BUFFERS, EXTRA, WEIGHTS, AggregationRule, Ruling
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class AggregationRuleContract:
    """An aggregation rule puts something in the place of each update, and says what it left out or scaled down."""

    enough = 9
    """Updates that the rule does not refuse."""

    @staticmethod
    def make() -> AggregationRule:
        raise NotImplementedError("set `make = staticmethod(lambda: YourRule(YourOptions()))` in the test class")

    @pytest.fixture
    def parts(self) -> dict[str, Array]:
        """Updates of honest clients: they agree but for noise. float64 [9, d]."""
        draw, count = np.random.default_rng(0), self.enough
        sizes = {WEIGHTS: 40, BUFFERS: 6, EXTRA: 40}
        return {name: draw.normal(1.0, 0.3, size) + draw.normal(0, 0.1, (count, size)) for name, size in sizes.items()}

    def test_it_refuses_what_it_says_in_words_and_nothing_more(self) -> None:
        rule = self.make()
        reasons = [rule.refusal(count) for count in range(1, self.enough + 1)]
        assert all(isinstance(reason, str) and "\n" not in reason for reason in reasons)
        assert reasons[-1] == "", f"{self.enough} updates are refused: set `enough`"
        # once there are enough, more are enough too
        assert sorted(reasons, key=bool, reverse=True) == reasons

    def test_names_shapes_and_type_stay(self, parts: dict[str, Array]) -> None:
        made = self.make().apply(parts).parts
        assert {name: (rows.dtype, rows.shape) for name, rows in made.items()} == {
            name: (np.dtype(np.float64), rows.shape) for name, rows in parts.items()
        }

    def test_what_it_makes_is_finite(self, parts: dict[str, Array]) -> None:
        hostile = {name: np.concatenate([rows[:-1], np.full_like(rows[-1:], 1e12)]) for name, rows in parts.items()}
        for given in (parts, hostile, {name: np.zeros_like(rows) for name, rows in parts.items()}):
            assert all(np.isfinite(rows).all() for rows in self.make().apply(given).parts.values())

    def test_what_it_says_is_of_rows_and_factors(self, parts: dict[str, Array]) -> None:
        ruling = self.make().apply({name: rows * np.arange(1, 10)[:, None] for name, rows in parts.items()})
        assert len(set(ruling.left_out)) == len(ruling.left_out) < self.enough
        assert set(ruling.left_out) | set(ruling.scaled) <= set(range(self.enough))
        assert all(0 <= factor < 1 for factor in ruling.scaled.values())

    def test_updates_that_agree_are_left_as_they_are(self, parts: dict[str, Array]) -> None:
        same = {name: np.repeat(rows[:1], self.enough, axis=0) for name, rows in parts.items()}
        for name, rows in self.make().apply(same).parts.items():
            np.testing.assert_allclose(rows, same[name], rtol=1e-9)

    def test_the_mean_stays_between_zero_and_what_updates_say(self, parts: dict[str, Array]) -> None:
        for name, rows in self.make().apply(parts).parts.items():
            mean, given = rows.mean(axis=0), parts[name]
            assert (mean >= np.minimum(given.min(axis=0), 0) - 1e-9).all()
            assert (mean <= np.maximum(given.max(axis=0), 0) + 1e-9).all()

    def test_the_order_of_clients_does_not_matter(self, parts: dict[str, Array]) -> None:
        order = np.random.default_rng(1).permutation(self.enough)
        one = self.make().apply(parts)
        other = self.make().apply({name: rows[order] for name, rows in parts.items()})
        for name, rows in one.parts.items():
            np.testing.assert_allclose(other.parts[name], rows[order], rtol=1e-9, atol=1e-12)
        assert {int(order[row]) for row in other.left_out} == set(one.left_out)

    def test_the_same_updates_give_the_same_result(self, parts: dict[str, Array]) -> None:
        rule = self.make()
        _assert_same(rule.apply(parts), self.make().apply(parts))
        rule.apply({name: 2 * rows for name, rows in parts.items()})
        _assert_same(rule.apply(parts), self.make().apply(parts))

    def test_updates_are_not_written_to(self, parts: dict[str, Array]) -> None:
        for rows in parts.values():
            rows.setflags(write=False)
        self.make().apply(parts)

    def test_parts_may_be_missing(self, parts: dict[str, Array]) -> None:
        made = self.make().apply({WEIGHTS: parts[WEIGHTS]}).parts
        assert set(made) == {WEIGHTS}

    def test_it_leaves_global_random_numbers_alone(self, parts: dict[str, Array]) -> None:
        with global_state_untouched():
            self.make().apply(parts)


def _assert_same(one: Ruling, other: Ruling) -> None:
    def plain(parts: Mapping[str, Array]) -> dict[str, bytes]:
        return {name: np.ascontiguousarray(rows).tobytes() for name, rows in parts.items()}

    assert plain(one.parts) == plain(other.parts)
    assert (one.left_out, dict(one.scaled)) == (other.left_out, dict(other.scaled))
