"""Prompt strategies that send statistics of features in place of texts: no prompt and no image leaves the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.product import SupportsProduct, features_of
from fgl.contracts.prompts import ClientContext, Prepared, Prompt
from fgl.errors import ModelError
from fgl.plugins._symmetric import Float64, packed, split
from fgl.plugins.prompts.gaussian_mixture import Gaussian, fit_mixture
from fgl.plugins.prompts.grouping import count_classes
from fgl.plugins.prompts.statistics_options import ClassGaussiansOptions, MomentsOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array

MEAN, SECOND_MOMENT, SPREAD = "feature_mean", "second_moment", "feature_spread"


class MomentsStrategy:
    """Sends the mean of each class's features, and the mean of x xᵀ over all of the client's images, once."""

    def __init__(self, options: MomentsOptions) -> None:
        self.options = options

    def prompts(self, context: ClientContext) -> Prepared:
        """One row for each class that the client holds; its weight is the number of its samples, exactly."""
        features, labels = _features(context), context.images.labels
        counts = count_classes(context)
        prompts = [Prompt(class_id, context.class_names[class_id], weight=count) for class_id, count in counts.items()]
        means = [split(features[labels == class_id].mean(axis=0)) for class_id in counts]
        width = features.shape[1]
        moments = [split(packed(features.T @ features / len(features)))] if counts else []
        arrays = {
            MEAN: np.stack(means) if means else np.empty((0, 2, width), dtype=np.float32),
            SECOND_MOMENT: np.stack(moments) if moments else np.empty((0, 2, width * (width + 1) // 2), np.float32),
        }
        return Prepared(prompts, arrays, {SECOND_MOMENT: np.zeros(len(prompts), dtype=np.int32)})


class ClassGaussiansStrategy:
    """Fits one Gaussian to the features of each class that the client holds, or a mixture of several."""

    def __init__(self, options: ClassGaussiansOptions) -> None:
        self.options = options

    def prompts(self, context: ClientContext) -> Prepared:
        """One row for each class and Gaussian; the weights of a class sum to its samples."""
        features, labels = _features(context), context.images.labels
        shape = _spread_of(context)
        prompts: list[Prompt] = []
        fitted: list[Gaussian] = []
        overall = float(features.var(axis=0).mean()) if len(features) else 0.0
        floor = max(self.options.variance_floor * overall, 1e-12)
        for class_id, count in count_classes(context).items():
            rng = np.random.default_rng([context.seed, class_id])
            of_class = features[labels == class_id]
            mixture = fit_mixture(of_class, self.options.components, _kind(shape, features.shape[1]), floor, rng)
            fitted += mixture
            name = context.class_names[class_id]
            prompts += [Prompt(class_id, name, weight=count * one.share) for one in mixture]
        width = features.shape[1]
        arrays: Mapping[str, Array] = {
            MEAN: np.stack([one.mean for one in fitted]) if fitted else np.empty((0, width)),
            SPREAD: np.stack([one.spread for one in fitted]) if fitted else np.empty((0, *shape)),
        }
        return Prepared(prompts, {name: array.astype(np.float32) for name, array in arrays.items()})


def _features(context: ClientContext) -> Float64:
    """Features of the client's images, float64 [n, d], by the generator's own way from images to features."""
    generator = context.generator()
    if not isinstance(generator, SupportsProduct):
        raise ModelError(
            f"generator {context.generator_name!r} has no features of images, of which statistics could be sent; "
            "choose moments or class-gaussians"
        )
    features = features_of(context.images, generator, context.device, context.progress)
    return np.asarray(features, dtype=np.float64)


def _spread_of(context: ClientContext) -> tuple[int, ...]:
    """Shape of what the generator takes for the spread of one Gaussian."""
    specs = {} if context.declaration is None else {spec.name: spec.shape for spec in context.declaration.arrays}
    if SPREAD not in specs:
        raise ModelError(f"generator {context.generator_name!r} declares no {SPREAD}; choose class-gaussians")
    return specs[SPREAD]


def _kind(shape: tuple[int, ...], width: int) -> str:
    """How Gaussians are described in so many numbers."""
    return {1: "spherical", width: "diagonal"}.get(shape[0], "full")


__all__ = ["ClassGaussiansStrategy", "MomentsStrategy"]
