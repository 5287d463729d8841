"""Built-in feature spaces."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component

_MODEL = "fgl.plugins.features.image_model:ImageModelSpace"
_MODEL_OPTIONS = "fgl.plugins.features.options:ImageModelOptions"

# The commit that the model's page on the Hub shows for its main branch.
_DINOV2 = {"model": "facebook/dinov2-small", "revision": "ed25f3a31f01632728cabb09d1542f84ab7b0056"}


@hookimpl
def fgl_feature_spaces() -> list[Component]:
    return [
        Component(
            name="trained",
            target="fgl.plugins.features.classifier_space:TrainedSpace",
            options="fgl.plugins.features.options:TrainedOptions",
            summary="what the last layer of the run's classifier reads, trained on public real images; no download",
        ),
        Component(
            name="dinov2",
            target=_MODEL,
            options=_MODEL_OPTIONS,
            summary="DINOv2 small, 384 features learnt without labels (88 MB, Apache-2.0)",
            defaults=_DINOV2,
            tied_defaults={"model": ("revision",)},
        ),
        Component(
            name="image-model",
            target=_MODEL,
            options=_MODEL_OPTIONS,
            summary="pooled features of any transformers image model: a folder or a Hub id",
        ),
        Component(
            name="pixels",
            target="fgl.plugins.features.pixels:PixelsSpace",
            options="fgl.plugins.features.options:PixelsOptions",
            summary="mean colours on a coarse grid: no model, for tests and first looks",
        ),
        Component(
            name="random-filters",
            target="fgl.plugins.features.random_filters:RandomFiltersSpace",
            options="fgl.plugins.features.options:RandomFiltersOptions",
            summary="colours and textures, by filters drawn from a seed: no model, no training, no download",
        ),
    ]
