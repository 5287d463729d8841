"""Heads in closed form against their definitions, and what they make of moments that are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.conditioning import unite
from fgl.contracts.product import LabelledArrays
from fgl.errors import DataError, ModelError
from fgl.plugins._symmetric import joined, packed, split, symmetric
from fgl.plugins.classifiers.closed_form import AnalyticHead, GaussianHead, moments_of
from fgl.plugins.classifiers.head_options import AnalyticOptions, GaussianOptions
from fgl.testing.contracts import features_context, labelled_arrays


def upload(name: str, values: np.ndarray, labels: np.ndarray) -> ClientUpload:
    """What a client with these features sends."""
    held = np.unique(labels)
    means = np.stack([split(values[labels == one].mean(axis=0)) for one in held])
    moment = split(packed(values.T @ values / len(values)))[None]
    return ClientUpload(
        name,
        0,
        "encoder",
        {"feature_mean": means, "second_moment": moment},
        {"second_moment": np.zeros(len(held), np.int32)},
        held.astype(np.int64),
        np.array([(labels == one).sum() for one in held], np.float64),
        ("",) * len(held),
        np.full(len(held), np.nan),
    )


def test_float64_survives_as_a_pair_of_float32() -> None:
    values = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-5, 5).repeat(100)
    assert (np.abs(joined(split(values)) - values) <= 2.0**-47 * np.abs(values)).all()


def test_a_packed_triangle_is_the_matrix() -> None:
    half = np.random.default_rng(0).standard_normal((5, 5))
    matrix = half + half.T
    np.testing.assert_array_equal(symmetric(packed(matrix), 5), matrix)


def test_moments_of_many_clients_are_those_of_the_pooled_features() -> None:
    data = labelled_arrays(61)
    values = data.values.astype(np.float64)
    parts = np.array_split(np.random.default_rng(1).permutation(61), [3, 4, 30])
    rows = unite([upload(f"client-{k}", values[part], data.labels[part]) for k, part in enumerate(parts)], "generator")
    together, pooled = moments_of(rows, 4), moments_of(LabelledArrays(values, data.labels), 4)
    for name in ("counts", "sums", "gram"):
        np.testing.assert_allclose(getattr(together, name), getattr(pooled, name), rtol=1e-12, atol=1e-9)


def test_equal_clients_count_twice() -> None:
    data = labelled_arrays(12)
    values = data.values.astype(np.float64)
    rows = unite([upload(name, values, data.labels) for name in ("client-0", "client-1")], "generator")
    assert len(rows) == 4, "rows of equal clients are one"
    np.testing.assert_allclose(moments_of(rows, 4).gram, 2 * values.T @ values, rtol=1e-12)


def test_the_gaussian_head_is_linear_discriminant_analysis() -> None:
    data = labelled_arrays(80)
    values, labels = data.values.astype(np.float64), data.labels
    head = GaussianHead(GaussianOptions(shrinkage=1e-6)).fit(data, None, features_context())
    means = np.stack([values[labels == one].mean(axis=0) for one in range(4)])
    residuals = values - means[labels]
    precision = np.linalg.inv(residuals.T @ residuals / len(values))
    away = values[:, None] - means
    density = -0.5 * np.einsum("ncd,de,nce->nc", away, precision, away) + np.log(np.bincount(labels) / len(labels))
    scores = head.logits(data.values, "last")
    np.testing.assert_allclose(scores - scores[:, :1], density - density[:, :1], rtol=1e-2, atol=1e-2)


def test_naive_bayes_ignores_correlations_and_priors_can_be_uniform() -> None:
    data = labelled_arrays(40)
    uneven = LabelledArrays(data.values[:30], np.where(np.arange(30) < 24, 0, data.labels[:30]))
    naive = GaussianHead(GaussianOptions(covariance="diagonal", priors="uniform", shrinkage=1e-6))
    counted = GaussianHead(GaussianOptions(covariance="diagonal", shrinkage=1e-6))
    even, by_count = (one.fit(uneven, None, features_context()).state("last") for one in (naive, counted))
    np.testing.assert_allclose(even["weight"], by_count["weight"])
    assert by_count["bias"][0] - even["bias"][0] > by_count["bias"][1] - even["bias"][1]


@pytest.mark.parametrize("head", [AnalyticHead(AnalyticOptions()), GaussianHead(GaussianOptions())])
def test_a_class_that_nobody_holds_is_never_predicted(head: AnalyticHead | GaussianHead) -> None:
    data = labelled_arrays(60)
    held = data.labels != 2
    model = head.fit(LabelledArrays(data.values[held], data.labels[held]), None, features_context())
    assert 2 not in model.predict(data.values, "last")


def test_one_image_is_enough() -> None:
    one = labelled_arrays(1)
    for head in (AnalyticHead(AnalyticOptions()), GaussianHead(GaussianOptions())):
        assert head.fit(one, None, features_context()).predict(one.values, "last").tolist() == [0]


def test_moments_that_are_those_of_no_features_are_a_data_error() -> None:
    data = labelled_arrays(40)
    honest = upload("client-0", data.values.astype(np.float64), data.labels)
    broken = replace(honest, arrays={**honest.arrays, "second_moment": -100 * honest.arrays["second_moment"]})
    rows = unite([broken], "generator")
    for head in (AnalyticHead(AnalyticOptions()), GaussianHead(GaussianOptions())):
        with pytest.raises(DataError, match="not those of any features"):
            head.fit(rows, None, features_context())


def test_a_state_of_another_head_is_a_model_error() -> None:
    head = AnalyticHead(AnalyticOptions())
    state = dict(head.fit(labelled_arrays(), None, features_context()).state("last"))
    with pytest.raises(ModelError, match=r"weight of the head is \[4, 6\]; expected \[4, 9\]"):
        head.restore(state, features_context(width=9))
    with pytest.raises(ModelError, match="a head has weight"):
        head.restore({"weight": state["weight"]}, features_context())
    with pytest.raises(ModelError, match="a head reads features"):
        head.check(replace(features_context(), product=None))
