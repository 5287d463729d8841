"""The penultimate features of the run's own classifier, trained on real images: a space that needs no download."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.classifier import SupportsFeatures
from fgl.contracts.progress import NullProgress
from fgl.errors import ModelError
from fgl.plugins.features.metrics import Comparing
from fgl.plugins.features.options import TrainedOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress


class TrainedSpace:
    """Contract `FeatureSpace`. Its state is that of the trained classifier."""

    def __init__(self, options: TrainedOptions) -> None:
        self.options = options

    def learns(self) -> bool:
        return True

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        epochs = self.options.epochs
        return classifier.fit(data, None, replace(context, epochs=epochs or context.epochs)).state("last")

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Penultimate:
        model = classifier.restore(state, context)
        if not isinstance(model, SupportsFeatures):
            raise ModelError(
                f"features: {type(classifier).__name__} provides no features, which `trained` needs; choose another "
                "classifier, or features of a model (dinov2)"
            )
        return Penultimate(self.options, model, digest(state))


class Penultimate(Comparing):
    """Contract `Extractor`."""

    def __init__(self, options: TrainedOptions, model: SupportsFeatures, weights: str) -> None:
        self._model, self._weights = model, weights
        self.neighbors = options.neighbors
        self._dimensions: int | None = None

    def describe(self) -> Mapping[str, object]:
        if self._dimensions is None:
            self.features(np.zeros((2, 32, 32, 3), dtype=np.uint8), NullProgress())
        return {
            "space": "trained",
            "model": "penultimate features of the run's classifier",
            "commit": None,
            "digest": self._weights,
            "license": "that of the images it learnt on",
            "dimensions": self._dimensions,
        }

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        points = self._model.features(pixels, "last", progress)
        self._dimensions = int(points.shape[1])
        return points


def digest(state: Mapping[str, Array]) -> str:
    """sha256 over names, dtypes, shapes and bytes of a state."""
    total = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        total.update(f"{name}/{array.dtype.str}/{array.shape}/".encode() + array.tobytes())
    return total.hexdigest()
