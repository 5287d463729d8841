"""Feature spaces that break one promise each."""

from __future__ import annotations

import random

import numpy as np

from fgl.plugins.features.options import PixelsOptions
from fgl.plugins.features.pixels import PixelsSpace
from fgl.testing.contracts import FeatureSpaceContract


class Wrapped:
    """An extractor with other members."""

    def __init__(self, extractor, members):
        self.extractor, self.members = extractor, members

    def __getattr__(self, name):
        member = self.members.get(name)
        return getattr(self.extractor, name) if member is None else lambda *given: member(self.extractor, *given)


def other(**members):
    class Other(PixelsSpace):
        def extractor(self, state, classifier, context):
            return Wrapped(super().extractor(state, classifier, context), members)

    return staticmethod(lambda: Other(PixelsOptions()))


class RefuseNoNumbers(FeatureSpaceContract):
    refused_by = "test_every_image_is_a_point_of_finite_numbers"
    make = other(features=lambda own, pixels, progress: own.features(pixels, progress) * np.float32(np.nan))


class RefuseErrorForNoImages(FeatureSpaceContract):
    refused_by = "test_no_image_is_no_point"
    make = other(features=lambda own, pixels, progress: pixels[[0]] is not None and own.features(pixels, progress))


class RefuseCentredPoints(FeatureSpaceContract):
    refused_by = "test_an_image_has_the_same_features_beside_whatever_others"
    make = other(
        features=lambda own, pixels, progress: own.features(pixels, progress) - own.features(pixels, progress).mean(0)
    )


class RefuseNoise(FeatureSpaceContract):
    refused_by = "test_the_same_state_gives_the_same_space"
    make = other(
        features=lambda own, pixels, progress: (
            own.features(pixels, progress) + np.float32(random.SystemRandom().random())
        )
    )


class RefuseLearningAtRandom(FeatureSpaceContract):
    refused_by = "test_learning_again_gives_the_same_state"

    @staticmethod
    def make():
        class Random(PixelsSpace):
            def learns(self):
                return True

            def learn(self, data, classifier, context):
                return {"scale": np.array([random.SystemRandom().random()])}

        return Random(PixelsOptions())


class RefuseNoModel(FeatureSpaceContract):
    refused_by = "test_it_says_whose_features_they_are"
    make = other(describe=lambda own: {**own.describe(), "model": ""})


class RefuseNearestOfAll(FeatureSpaceContract):
    refused_by = "test_a_set_beside_itself_is_covered_and_at_no_distance"
    make = other(nearest=lambda own, points, others: (np.zeros(len(points)), np.zeros(len(points), np.int64)))


class RefuseFigureWithoutReason(FeatureSpaceContract):
    refused_by = "test_comparisons_are_json_and_say_why_a_figure_is_missing"
    make = other(compare=lambda own, *given: {**own.compare(*given), "fid": None, "why": {}})
