"""The built-in heads, and the generators and strategies behind them, keep the contracts that third parties are tested
against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fgl.contracts.prompts import ClientContext, Prepared
from fgl.plugins.classifiers.closed_form import AnalyticHead, GaussianHead
from fgl.plugins.classifiers.head_options import AnalyticOptions, GaussianOptions, LinearOptions
from fgl.plugins.classifiers.linear import LinearHead
from fgl.plugins.generators import feature_options
from fgl.plugins.generators.class_gaussians import ClassGaussians
from fgl.plugins.generators.moments import Moments
from fgl.plugins.prompts import statistics_options
from fgl.plugins.prompts.feature_statistics import ClassGaussiansStrategy, MomentsStrategy
from fgl.testing.contracts import (
    ClassifierContract,
    ClosedFormContract,
    DrawnImages,
    FeatureGeneratorContract,
    PromptStrategyContract,
    client_context,
    features_context,
    labelled_arrays,
)
from fgl.testing.data import DOMAINS

PIXELS = {"space": "pixels", "space_options": {"size": 2}}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestLinear(ClassifierContract):
    make = staticmethod(lambda: LinearHead(LinearOptions(epochs=3, batch_size=16)))

    @pytest.fixture
    def train(self):
        return labelled_arrays()

    @pytest.fixture
    def validation(self):
        return labelled_arrays(16, seed=1)

    @pytest.fixture
    def context(self):
        return features_context()


class TestAnalytic(ClosedFormContract):
    make = staticmethod(lambda: AnalyticHead(AnalyticOptions()))


class TestGaussian(ClosedFormContract):
    make = staticmethod(lambda: GaussianHead(GaussianOptions()))


class TestNaiveBayes(ClosedFormContract):
    make = staticmethod(lambda: GaussianHead(GaussianOptions(covariance="diagonal", priors="uniform")))


def moments() -> Moments:
    return Moments(feature_options.MomentsOptions(**PIXELS))


def gaussians(covariance: str = "full") -> ClassGaussians:
    return ClassGaussians(feature_options.ClassGaussiansOptions(covariance=covariance, **PIXELS))


class TestMoments(FeatureGeneratorContract):
    make = staticmethod(moments)

    @pytest.fixture
    def prepared(self, context: ClientContext) -> Prepared:
        return MomentsStrategy(statistics_options.MomentsOptions()).prompts(context)


class TestFullGaussians(FeatureGeneratorContract):
    make = staticmethod(gaussians)

    @pytest.fixture
    def prepared(self, context: ClientContext) -> Prepared:
        return ClassGaussiansStrategy(statistics_options.ClassGaussiansOptions()).prompts(context)


class TestMixturesOfSphericalGaussians(FeatureGeneratorContract):
    make = staticmethod(lambda: gaussians("spherical"))

    @pytest.fixture
    def prepared(self, context: ClientContext) -> Prepared:
        return ClassGaussiansStrategy(statistics_options.ClassGaussiansOptions(components=2)).prompts(context)


class _OfFeatures(PromptStrategyContract):
    generator = staticmethod(moments)

    @pytest.fixture
    def context(self, tmp_path: Path) -> ClientContext:
        """A client with images of classes 0, 1 and 3, in two domains, whose context has the generator."""
        generator, labels = self.generator(), np.array([0] * 12 + [1] * 7 + [3] * 5, dtype=np.int64)
        images = DrawnImages(labels, [DOMAINS[index % 2] for index in range(len(labels))])
        given = client_context(images, private=tmp_path / "private")
        return replace(given, declaration=generator.declare(), generator=lambda: generator)

    def test_no_pixel_and_no_text_of_the_images_is_in_it(self, context: ClientContext) -> None:
        """Statistics of other images of the same classes and counts are other statistics, with the same texts."""
        labels = context.images.labels
        others = self.make().prompts(replace(context, images=DrawnImages(labels, None, seed=5)))
        ours = self.make().prompts(context)
        assert [prompt.text for prompt in ours.prompts] == [prompt.text for prompt in others.prompts]
        assert any((ours.arrays[name] != others.arrays[name]).any() for name in ours.arrays)


class TestMomentsStrategy(_OfFeatures):
    make = staticmethod(lambda: MomentsStrategy(statistics_options.MomentsOptions()))

    def test_weights_are_counts_exactly(self, context: ClientContext) -> None:
        counts = np.bincount(context.images.labels, minlength=4)
        assert [prompt.weight for prompt in self.make().prompts(context).prompts] == counts[counts > 0].tolist()


class TestClassGaussiansStrategy(_OfFeatures):
    generator = staticmethod(gaussians)
    make = staticmethod(lambda: ClassGaussiansStrategy(statistics_options.ClassGaussiansOptions(components=2)))
