"""Mean colours on a coarse grid: a feature space without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from fgl.plugins.features.metrics import Comparing
from fgl.plugins.features.options import PixelsOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress


_BATCH = 512


class PixelsSpace:
    """Contract `FeatureSpace`."""

    def __init__(self, options: PixelsOptions) -> None:
        self.options = options

    def learns(self) -> bool:
        return False

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        return {}

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Grid:
        return Grid(self.options)


class Grid(Comparing):
    """Contract `Extractor`. Features are mean colours from 0 to 1, cell by cell."""

    def __init__(self, options: PixelsOptions) -> None:
        self.size, self.neighbors = options.size, options.neighbors

    def describe(self) -> Mapping[str, object]:
        return {
            "space": "pixels",
            "model": f"mean colours on a grid of {self.size}x{self.size}",
            "commit": None,
            "digest": None,
            "license": "none needed",
            "dimensions": 3 * self.size**2,
        }

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        points = [np.empty((0, 3 * self.size**2), dtype=np.float32)]
        with progress.track("features", len(pixels)) as task:
            for start in range(0, len(pixels), _BATCH):
                batch = torch.tensor(pixels[start : start + _BATCH]).permute(0, 3, 1, 2).float() / 255
                points.append(F.adaptive_avg_pool2d(batch, self.size).flatten(1).numpy())
                task.advance(len(batch))
        return np.concatenate(points)
