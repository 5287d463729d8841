"""Weights are the clients' own word: one that claims the world gets a bounded share, and is named."""

from __future__ import annotations

import numpy as np
import pytest

from fgl.contracts.aggregator import ClientUpload
from fgl.core.server import claimed_weights
from fgl.plugins.aggregators.class_mean import ClassMean
from fgl.plugins.aggregators.options import ClassMeanOptions, UnionOptions
from fgl.plugins.aggregators.union import Union


def upload(client_id: str, weight: float, value: float = 0.0) -> ClientUpload:
    """Two rows, of classes 0 and 1."""
    return ClientUpload(
        client_id=client_id,
        round=0,
        encoder="e",
        arrays={"prompt_embeds": np.full((2, 2, 3), value, np.float32)},
        indices={},
        class_id=np.array([0, 1]),
        weight=np.array([weight, weight]),
        domain=("", ""),
        guidance_scale=np.full(2, np.nan),
    )


def test_a_claim_of_1e12_counts_as_some_times_the_median() -> None:
    honest = [upload(name, 50 + place) for place, name in enumerate("bcde")]
    found = claimed_weights.limited([upload("a", 1e12), *honest], 4)
    assert found[0].weight.sum() == pytest.approx(4 * 104)  # b 100, c 102, d 104, e 106, a: the median is d's
    assert [one.weight.tolist() for one in found[1:]] == [one.weight.tolist() for one in honest]


@pytest.mark.parametrize("aggregator", [Union(UnionOptions()), ClassMean(ClassMeanOptions())])
def test_a_hostile_weight_is_no_switch_that_takes_a_class_over(aggregator) -> None:
    """Each aggregator, as the server calls it: bounded weights, then aggregate."""
    uploads = [upload("a", 1e12, 1.0), *(upload(name, 50, 0.0) for name in "bcde")]
    made = aggregator.aggregate(claimed_weights.limited(uploads, 4), "g" * 64)
    of_class = made.class_id == 0
    if isinstance(aggregator, Union):
        share = made.weight[of_class] / made.weight[of_class].sum()
        assert max(share) == pytest.approx(4 / 8)
    else:
        assert float(made.sources[0].arrays["prompt_embeds"][0].mean()) == pytest.approx(4 / 8, abs=1e-3)


def test_honest_clients_that_differ_within_the_ratio_are_left_as_they_are() -> None:
    uploads = [upload("a", 200), upload("b", 50), upload("c", 60), upload("d", 5)]
    assert [one.weight.tolist() for one in claimed_weights.limited(uploads, 4)] == [[n, n] for n in (200, 50, 60, 5)]


def test_one_client_has_no_bound_and_of_two_the_smaller_sets_it() -> None:
    assert claimed_weights.factors({"a": 1e12}, 10) == {}
    assert claimed_weights.factors({"a": 1e12, "b": 100}, 10) == {"a": 1000 / 1e12}


def test_a_client_is_named_where_it_gives_nearly_all_of_a_class_that_others_have_and_far_more_than_they() -> None:
    claims = {"a": [9900.0, 0.0], "b": [50.0, 50.0], "c": [50.0, 50.0]}
    (one,) = claimed_weights.dominant(claims, ["river", "sea"])
    assert (one.client_id, one.class_name, one.claimed, one.total, one.others) == ("a", "river", 9900, 10_000, 2)


def test_a_client_that_alone_has_a_class_or_has_its_fair_share_is_not_named() -> None:
    """As under a strongly skewed split: a class each, and a few stray samples."""
    assert claimed_weights.dominant({"a": [240.0, 2.0], "b": [0.0, 240.0]}, ["river", "sea"]) == []
    assert claimed_weights.dominant({"a": [1000.0, 0.0], "b": [0.0, 10.0], "c": [0.0, 10.0]}, ["river", "sea"]) == []
    assert claimed_weights.dominant({"a": [1000.0]}, ["river"]) == []
