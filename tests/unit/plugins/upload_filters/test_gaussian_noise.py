"""Noise on an upload: what one image or one client changes is within what is paid for, and the rest is public."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from fgl import ConfigError, FilterContext, PolicyError, Prepared, Prompt
from fgl.plugins._symmetric import joined, packed, split, symmetric
from fgl.plugins.upload_filters import gaussian_noise
from fgl.plugins.upload_filters.gaussian_noise import GaussianNoise
from fgl.plugins.upload_filters.options import GaussianNoiseOptions
from fgl.testing.contracts import UploadFilterContract

NAMES = ("river", "road", "sea")
WIDTH = 4


def _moments(features: np.ndarray, labels: np.ndarray) -> Prepared:
    classes = np.unique(labels).tolist()
    counts = [int((labels == one).sum()) for one in classes]
    return Prepared(
        [Prompt(one, NAMES[one], weight=count) for one, count in zip(classes, counts, strict=True)],
        {
            "feature_mean": np.stack([split(features[labels == one].mean(axis=0)) for one in classes]),
            "second_moment": split(packed(features.T @ features / len(features)))[None],
        },
        {"second_moment": np.zeros(len(classes), np.int32)},
    )


def _features(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    found = draw.standard_normal((count, WIDTH))
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1), draw.integers(0, 2, count)


def _applied(filter_: GaussianNoise, given: Prepared, spent: list | None = None, norm: float | None = 1.0) -> Prepared:
    spend = (lambda *one: None) if spent is None else lambda *one: spent.append(one)
    context = FilterContext("client-00", 0, 3, NAMES, spend=spend, feature_norm=norm)
    return filter_.apply(given.arrays, given.indices, given.prompts, context)


def _exact(given: Prepared, monkeypatch, level: str = "image", norm: float | None = 1.0) -> np.ndarray:
    """The vector that the noise is added to."""
    seen = []
    monkeypatch.setattr(gaussian_noise, "add_noise", lambda values, sigma: seen.append(values) or values)
    _applied(GaussianNoise(GaussianNoiseOptions(sigma=1.0, level=level)), given, norm=norm)
    return seen[0]


def test_one_image_more_moves_what_is_noised_by_root_three_at_most(monkeypatch):
    features, labels = _features()
    whole = _exact(_moments(features, labels), monkeypatch)
    moved = [
        np.linalg.norm(whole - _exact(_moments(np.delete(features, i, 0), np.delete(labels, i)), monkeypatch))
        for i in range(len(features))
    ]
    assert max(moved) <= math.sqrt(3) + 1e-9
    extreme = np.vstack([features, np.eye(WIDTH)[:1]])  # alone in its class, at the norm
    far = np.linalg.norm(whole - _exact(_moments(extreme, np.append(labels, 2)), monkeypatch))
    assert far == pytest.approx(math.sqrt(3))


def test_without_noise_moments_stay_what_they_are_and_absent_classes_are_empty(monkeypatch):
    features, labels = _features()
    monkeypatch.setattr(gaussian_noise, "add_noise", lambda values, sigma: values)
    answer = _applied(GaussianNoise(GaussianNoiseOptions(epsilon=1.0)), _moments(features, labels))
    assert [prompt.class_id for prompt in answer.prompts] == [0, 1, 2]
    np.testing.assert_allclose(joined(answer.arrays["feature_mean"][1]), features[labels == 1].mean(axis=0), atol=1e-9)
    total = sum(prompt.weight for prompt in answer.prompts)
    assert total == len(features) + 1  # a weight must be above 0
    gram = symmetric(joined(answer.arrays["second_moment"][0]), WIDTH) * total
    np.testing.assert_allclose(gram, features.T @ features, atol=1e-9)


def test_what_noise_made_impossible_is_brought_back(monkeypatch):
    features, labels = _features(3)
    for _ in range(20):
        answer = _applied(GaussianNoise(GaussianNoiseOptions(epsilon=0.1)), _moments(features, labels))
        weights = np.array([prompt.weight for prompt in answer.prompts])
        means = np.stack([joined(one) for one in answer.arrays["feature_mean"]])
        within = symmetric(joined(answer.arrays["second_moment"][0]), WIDTH)
        within -= (means * (weights / weights.sum())[:, None]).T @ means
        assert weights.min() >= 1
        assert np.linalg.norm(means, axis=1).max() <= 1 + 1e-6
        assert np.linalg.eigvalsh(within).min() > -1e-9


def test_the_price_is_that_which_was_asked_for_and_never_more():
    for epsilon in (0.5, 4.0):
        spent: list = []
        _applied(GaussianNoise(GaussianNoiseOptions(epsilon=epsilon)), _moments(*_features()), spent)
        ((what, level, cost),) = spent
        assert (what, level) == ("counts, sums and second moments of features", "image")
        assert cost.fits(epsilon, 1e-5)
        assert cost.epsilon(1e-5) == pytest.approx(epsilon, rel=1e-3)


def _rows(weight: float = 1.0) -> Prepared:
    draw = np.random.default_rng(2)
    prompts = [
        Prompt(0, "a", "blurred", weight=weight),
        Prompt(0, "b", "blurred", weight=3.0),
        Prompt(2, "c", "blurred"),
    ]
    rows = draw.standard_normal((3, 4, 8)).astype(np.float32)
    negative = draw.standard_normal((1, 5)).astype(np.float32)
    return Prepared(prompts, {"rows": rows, "negative": negative}, {"negative": np.zeros(3, np.int32)})


def test_a_clients_rows_have_a_norm_that_its_price_knows(monkeypatch):
    exact = _exact(_rows(), monkeypatch, "client")
    assert len(exact) == 3 * 32 + 5
    assert np.linalg.norm(exact) <= math.sqrt(4) + 1e-9
    assert not exact[32:64].any()  # no road
    spent: list = []
    answer = _applied(GaussianNoise(GaussianNoiseOptions(epsilon=8.0, level="client")), _rows(), spent)
    assert [(prompt.class_id, prompt.weight, prompt.text) for prompt in answer.prompts] == [
        (0, 1.0, "river"),
        (1, 1.0, "road"),
        (2, 1.0, "sea"),
    ]
    assert answer.arrays["rows"].shape == (3, 4, 8)
    assert answer.arrays["negative"].shape == (1, 5)
    assert spent[0][1] == "client"


def test_rows_go_where_they_came_from(monkeypatch):
    monkeypatch.setattr(gaussian_noise, "add_noise", lambda values, sigma: values)
    given = _rows()
    answer = _applied(GaussianNoise(GaussianNoiseOptions(epsilon=8.0, level="client", max_norm=1e6)), given)
    expected = (given.arrays["rows"][0] + 3 * given.arrays["rows"][1]) / 4
    np.testing.assert_allclose(answer.arrays["rows"][0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer.arrays["rows"][2], given.arrays["rows"][2], rtol=1e-6)
    np.testing.assert_allclose(answer.arrays["negative"], given.arrays["negative"], rtol=1e-6)


def test_rows_at_the_level_of_images_are_refused_since_nothing_bounds_them():
    with pytest.raises(ConfigError, match=r"expected client: what one image changes in the rows .* is not bounded"):
        _applied(GaussianNoise(GaussianNoiseOptions(epsilon=1.0)), _rows())


def test_where_nobody_counts_nothing_is_drawn():
    given = _rows()
    with pytest.raises(PolicyError, match="noise is not drawn where nobody counts it"):
        GaussianNoise(GaussianNoiseOptions(epsilon=1.0, level="client")).apply(
            given.arrays, given.indices, given.prompts, FilterContext("client-00", 0, 3, NAMES)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected epsilon or sigma, one of both"),
        ({"epsilon": 1.0, "sigma": 1.0}, "expected epsilon or sigma, one of both"),
        ({"epsilon": -1.0}, "greater than 0"),
        ({"epsilon": 1.0, "delta": 1.0}, "less than 1"),
        ({"epsilon": 1.0, "level": "pixel"}, "'image' or 'client'"),
    ],
)
def test_options_that_mean_nothing_are_named(options, message):
    with pytest.raises(ValidationError, match=message):
        GaussianNoiseOptions(**options)


class TestContract(UploadFilterContract):
    reproducible = False
    make = staticmethod(lambda: GaussianNoise(GaussianNoiseOptions(epsilon=8.0, level="client")))

    @pytest.fixture
    def context(self, tmp_path):
        context = UploadFilterContract.context.__wrapped__(self, tmp_path)
        return replace(context, spend=lambda what, level, cost: None)
