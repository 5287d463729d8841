"""Which prompts stay within a budget, and that no sample is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.prompts import Prompt
from fgl.errors import ModelError
from fgl.plugins.prompts.budget import fit_budget, medoids
from fgl.plugins.prompts.options import BudgetOptions
from fgl.testing.contracts import DrawnImages, client_context

PROMPTS = [Prompt(class_id, f"prompt {n}", weight=float(1 + n % 4)) for class_id in (0, 1) for n in range(12)]
CONTEXT = client_context(DrawnImages(np.zeros(1, dtype=np.int64), None))


def weights(prompts):
    totals = Counter()
    for prompt in prompts:
        totals[prompt.class_id, prompt.domain] += prompt.weight
    return dict(totals)


def fit(count, choose, prompts=PROMPTS, context=CONTEXT):
    return fit_budget(prompts, BudgetOptions(max_per_class=count, choose=choose), context)


def test_without_a_limit_everything_stays():
    assert fit_budget(PROMPTS, BudgetOptions(), CONTEXT) == PROMPTS


@pytest.mark.parametrize("choose", ["frequent", "sampled", "clustered"])
@pytest.mark.parametrize("count", [1, 3, 11, 12, 40])
def test_a_class_keeps_its_weight_and_at_most_so_many_of_its_own_prompts(choose, count):
    kept = fit(count, choose)
    assert Counter(p.class_id for p in kept) == {0: min(count, 12), 1: min(count, 12)}
    assert weights(kept) == pytest.approx(weights(PROMPTS))
    assert {(p.class_id, p.text) for p in kept} <= {(p.class_id, p.text) for p in PROMPTS}
    assert kept == fit(count, choose), "not the same the second time"
    backwards = fit(count, choose, PROMPTS[::-1])
    assert sorted(backwards, key=str) == sorted(kept, key=str), "depends on the order of the prompts"


def test_the_most_frequent_stay_and_share_the_rest_in_proportion():
    prompts = [Prompt(0, "rare", weight=1.0), Prompt(0, "often", weight=6.0), Prompt(0, "sometimes", weight=3.0)]
    kept = fit(2, "frequent", prompts)
    assert [p.text for p in kept] == ["often", "sometimes"]
    assert [p.weight for p in kept] == pytest.approx([20 / 3, 10 / 3])


def test_domains_share_the_number_and_keep_one_each():
    domains = ["a"] * 8 + ["b"] * 3 + ["c"]
    prompts = [Prompt(0, f"{domain} {n}", domain=domain) for n, domain in enumerate(domains)]
    kept = fit(6, "sampled", prompts)
    assert Counter(p.domain for p in kept) == {"a": 4, "b": 1, "c": 1}
    assert weights(kept) == pytest.approx(weights(prompts))


def test_another_seed_draws_others():
    drawn = {tuple(p.text for p in fit(3, "sampled", context=replace(CONTEXT, seed=seed))) for seed in range(5)}
    assert len(drawn) > 1


def test_medoids_are_members_one_for_each_cluster():
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = np.concatenate([centre + random.normal(0, 0.1, (20, 2)) for centre in centres])
    rows = medoids(points, np.ones(60), 3, np.random.default_rng(1))
    assert [row // 20 for row in rows] == [0, 1, 2]


def test_a_heavy_point_pulls_the_medoid():
    points = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert medoids(points, np.array([1.0, 1.0, 1.0, 100.0]), 1, np.random.default_rng(0)) == [3]


def test_points_that_do_not_differ_have_one_medoid():
    assert len(medoids(np.ones((5, 3)), np.ones(5), 3, np.random.default_rng(0))) == 1


def test_what_is_left_out_counts_for_the_nearest_medoid():
    where = {"left 0": 0.0, "left 1": 0.1, "left 2": 0.2, "right 0": 9.0, "right 1": 9.1}

    def encode(prompts):
        assert all(p.negative is None for p in prompts)
        return {"prompt_embeds": np.array([[[where[p.text], 0.0], [where[p.text], 1.0]] for p in prompts], np.float32)}

    prompts = [Prompt(0, text, negative="ugly", weight=2.0) for text in where]
    kept = fit(2, "clustered", prompts, replace(CONTEXT, encode=encode))
    assert [(p.text, p.weight, p.negative) for p in kept] == [("left 1", 6.0, "ugly"), ("right 0", 4.0, "ugly")]


def test_an_encoder_without_prompt_embeds_cannot_be_clustered_by():
    context = replace(CONTEXT, encode=lambda prompts: {"features": np.zeros((len(prompts), 3))})
    with pytest.raises(ModelError, match=r"needs an encoder that yields prompt_embeds.*yields features.*sampled"):
        fit(2, "clustered", context=context)
