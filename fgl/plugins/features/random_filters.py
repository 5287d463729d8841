"""Pooled responses of random filters: a feature space of textures and colours without a model or a download.

Filters that nobody has trained, rectified and pooled over the image, describe textures well (Saxe et al. 2011, "On
random weights and unsupervised feature learning"; two-sided rectification as in Coates and Ng 2011). They are drawn
from a seed, so that every machine has the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from fgl.plugins.features.metrics import Comparing
from fgl.plugins.features.options import RandomFiltersOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress

_BATCH = 128
_COLOUR_CELLS = 2
"""Cells of a grid, along each side, whose mean colours are features too: filters do not see a constant."""


class RandomFiltersSpace:
    """Contract `FeatureSpace`."""

    def __init__(self, options: RandomFiltersOptions) -> None:
        self.options = options

    def learns(self) -> bool:
        return False

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        return {}

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> FilterBank:
        return FilterBank(self.options, context.device)


class FilterBank(Comparing):
    """Contract `Extractor`. Features are square roots of means, so that no strong edge outweighs a texture."""

    def __init__(self, options: RandomFiltersOptions, device: str) -> None:
        self._options, self._device = options, torch.device(device)
        self.neighbors = options.neighbors
        self._filters = drawn_filters(options.filters, options.filter_size, options.seed)

    def describe(self) -> Mapping[str, object]:
        options = self._options
        size = options.filter_size
        return {
            "space": "random-filters",
            "model": f"{options.filters} random filters of {size}x{size} pixels, seed {options.seed}",
            "commit": None,
            "digest": hashlib.sha256(self._filters.astype("<f4").tobytes()).hexdigest(),
            "license": "none needed",
            "dimensions": 3 * _COLOUR_CELLS**2 + 3 + 2 * options.filters,
        }

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """Of each image: mean colours on a grid, the deviation of each colour, and the mean of each filter's positive
        and negative responses."""
        weights = torch.from_numpy(self._filters).to(self._device)
        points = [np.empty((0, 3 * _COLOUR_CELLS**2 + 3 + 2 * len(self._filters)), dtype=np.float32)]
        with progress.track("features", len(pixels)) as task, torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                batch = pixels[start : start + _BATCH]
                # filled up, so that rounding does not depend on how many images there are
                filled = np.concatenate([batch, np.repeat(batch[-1:], _BATCH - len(batch), axis=0)])
                points.append(self._of(filled, weights)[: len(batch)])
                task.advance(len(batch))
        return np.concatenate(points)

    def _of(self, pixels: Pixels, weights: torch.Tensor) -> Array:
        images = torch.tensor(pixels, device=self._device).permute(0, 3, 1, 2).float() / 255
        colours = F.adaptive_avg_pool2d(images, _COLOUR_CELLS).flatten(1)
        deviations = images.std((2, 3), correction=0)
        responses = F.conv2d(images, weights, padding=self._options.filter_size // 2)
        rectified = [F.relu(responses).mean((2, 3)), F.relu(-responses).mean((2, 3))]
        points = torch.cat([colours, deviations, *rectified], dim=1).sqrt()
        return np.asarray(points.cpu().numpy(), dtype=np.float32)


def drawn_filters(count: int, size: int, seed: int) -> Array:
    """float32 [count, 3, size, size], each with mean 0 and norm 1."""
    filters = np.random.default_rng(seed).standard_normal((count, 3, size, size))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    norms = np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    scaled: Array = (filters / norms).astype(np.float32)
    return scaled


__all__ = ["FilterBank", "RandomFiltersSpace"]
