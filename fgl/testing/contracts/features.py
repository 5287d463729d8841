"""What every feature space must hold to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.features import FeatureSpace
from fgl.contracts.progress import NullProgress
from fgl.testing.data import DrawnImages, fit_context

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Classifier
    from fgl.contracts.features import Extractor


class FeatureSpaceContract:
    """A feature space gives an image the same features whatever stands beside it, and says whose features they are."""

    @staticmethod
    def make() -> FeatureSpace:
        raise NotImplementedError("set `make = staticmethod(lambda: YourSpace(YourOptions()))` in the test class")

    @pytest.fixture
    def classifier(self) -> Classifier:
        """The run's classifier, for spaces that are made of it."""
        from fgl.core.plugin_manager import PluginManager

        network = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "groups_width": 4}
        options = {"preset": "small", "image_size": 32, "epochs": 1, "batch_size": 8}
        options |= {"architecture": "regnet", "config": network}
        found: Classifier = PluginManager.load().registry.create("classifier", "transformers", options)
        return found

    @pytest.fixture
    def images(self) -> LabelledPixels:
        """24 images of 32x32 pixels, of four classes."""
        labels = np.arange(24, dtype=np.int64) % 4
        drawn = DrawnImages(labels, None)
        pixels = [np.asarray(drawn.image(index).resize((32, 32)), dtype=np.uint8) for index in range(24)]
        return LabelledPixels(np.stack(pixels), labels)

    @pytest.fixture
    def state(self, classifier: Classifier, images: LabelledPixels) -> Mapping[str, Array]:
        space = self.make()
        return space.learn(images, classifier, fit_context()) if space.learns() else {}

    @pytest.fixture
    def extractor(self, classifier: Classifier, state: Mapping[str, Array]) -> Extractor:
        return self.make().extractor(state, classifier, fit_context())

    def test_every_image_is_a_point_of_finite_numbers(self, extractor: Extractor, images: LabelledPixels) -> None:
        points = extractor.features(images.pixels, NullProgress())
        assert points.dtype == np.float32
        assert points.shape == (24, extractor.describe()["dimensions"])
        assert np.isfinite(points).all()
        assert len(np.unique(points, axis=0)) > 1, "all images have the same features"

    def test_no_image_is_no_point(self, extractor: Extractor, images: LabelledPixels) -> None:
        points = extractor.features(images.pixels[:0], NullProgress())
        assert points.shape == (0, extractor.describe()["dimensions"])

    def test_an_image_has_the_same_features_beside_whatever_others(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        scale = np.abs(points).max()
        alone = extractor.features(images.pixels[5:6], NullProgress())
        assert np.abs(alone[0] - points[5]).max() < 1e-4 * scale
        turned = extractor.features(images.pixels[::-1].copy(), NullProgress())
        assert np.abs(turned[::-1] - points).max() < 1e-4 * scale

    def test_the_same_state_gives_the_same_space(
        self, extractor: Extractor, state: Mapping[str, Array], classifier: Classifier, images: LabelledPixels
    ) -> None:
        carried = {name: np.array(array) for name, array in state.items()}
        other = self.make().extractor(carried, classifier, fit_context())
        assert (
            extractor.features(images.pixels, NullProgress()) == other.features(images.pixels, NullProgress())
        ).all()
        assert other.describe() == extractor.describe()

    def test_learning_again_gives_the_same_state(
        self, state: Mapping[str, Array], classifier: Classifier, images: LabelledPixels
    ) -> None:
        space = self.make()
        again = space.learn(images, classifier, fit_context()) if space.learns() else {}
        assert again.keys() == state.keys()
        assert all((again[name] == state[name]).all() for name in state)

    def test_it_says_whose_features_they_are(self, extractor: Extractor) -> None:
        said = json.loads(json.dumps(extractor.describe()))
        assert {"space", "model", "license", "dimensions", "commit", "digest"} <= said.keys()
        assert said["space"]
        assert said["model"]
        assert said["license"]

    def test_a_set_beside_itself_is_covered_and_at_no_distance(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        distances, positions = extractor.nearest(points, points)
        assert distances.max() < 1e-4 * np.abs(points).max()
        assert (points[positions] == points).all()
        said = extractor.compare(points, points, 0)
        assert said["coverage"] == said["precision"] == said["recall"] == 1

    def test_comparisons_are_json_and_say_why_a_figure_is_missing(
        self, extractor: Extractor, images: LabelledPixels
    ) -> None:
        points = extractor.features(images.pixels, NullProgress())
        for few in (0, 1, 2, 24):
            said = json.loads(json.dumps(extractor.compare(points, points[:few], 0)))
            figures = {"density", "coverage", "precision", "recall", "kid", "kid_se", "fid"}
            assert figures | {"k", "why"} <= said.keys()
            for name in figures - {"kid_se"}:
                assert (said[name] is None) == (name in said["why"]), f"{name} with {few} images"
