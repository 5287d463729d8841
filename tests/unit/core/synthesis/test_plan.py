"""Budgets, identity, seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.core.seeds import image_seed
from fgl.core.synthesis.plan import image_id, make_plan, shares, validation_mask


def conditioning(classes: list[int], weights: list[float]) -> Conditioning:
    n = len(classes)
    rows = np.arange(n)
    upload = ClientUpload("c", 0, "e", {}, {}, np.array(classes), np.array(weights), ("",) * n, np.full(n, np.nan))
    return Conditioning(
        tuple(f"{index:064x}" for index in rows),
        np.array(classes),
        np.array(weights),
        ("",) * n,
        np.full(n, np.nan),
        np.zeros(n, dtype=np.int64),
        rows,
        np.ones(n, dtype=np.int64),
        [upload],
    )


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50), st.integers(0, 5000))
def test_shares_add_up_and_stay_within_one_of_their_due(weights: list[float], total: int) -> None:
    counts = shares(weights, total)
    assert sum(counts) == total
    due = np.array(weights) / np.sum(weights) * total
    assert np.all(np.abs(np.array(counts) - due) <= 1 + 1e-6)


def test_every_class_gets_its_budget_divided_by_weight() -> None:
    items = [item for shard in make_plan(conditioning([0, 0, 4], [3, 1, 9]), 8, 0, 100) for item in shard.items]
    assert [sum(item.conditioning == row for item in items) for row in range(3)] == [6, 2, 8]


def test_shards_cut_the_items_in_order() -> None:
    shards = make_plan(conditioning([0, 1], [1, 1]), 5, 0, 4)
    assert [len(shard.items) for shard in shards] == [4, 4, 2]
    assert [shard.index for shard in shards] == [0, 1, 2]


def test_an_image_is_the_same_whatever_else_is_planned() -> None:
    alone = {item.image_id: item.seed for shard in make_plan(conditioning([0], [1]), 4, 7, 2) for item in shard.items}
    more = make_plan(conditioning([0, 1], [1, 1]), 6, 7, 5)
    among = {item.image_id: item.seed for shard in more for item in shard.items}
    assert alone.items() <= among.items()


def test_seeds_follow_from_run_image_and_draw_alone() -> None:
    name = image_id("a" * 64, 3)
    seeds = {image_seed(0, name), image_seed(1, name), image_seed(0, name, 1), image_seed(0, image_id("a" * 64, 4))}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Pinned: a change here makes every earlier run irreproducible.
    assert name == "471d6dd2f823337eccefd99c33edce01"
    assert image_seed(0, name) == 3320789307868324803


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_validation_takes_its_share_of_each_class_and_leaves_one(fraction: float) -> None:
    ids = [f"{index:032x}" for index in range(31)]
    classes = [0] * 20 + [1] * 10 + [2]
    mask = validation_mask(ids, classes, fraction)
    for class_id, count in ((0, 20), (1, 10), (2, 1)):
        assert mask[np.array(classes) == class_id].sum() == min(round(fraction * count), count - 1)


def test_validation_of_a_class_does_not_depend_on_the_others() -> None:
    ids = [f"{index:032x}" for index in range(30)]
    both = validation_mask(ids, [0] * 20 + [1] * 10, 0.3)
    assert np.array_equal(both[:20], validation_mask(ids[:20], [0] * 20, 0.3))
