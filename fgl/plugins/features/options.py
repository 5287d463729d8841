"""Options of the built-in feature spaces."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from fgl.contracts.options import ModelRef, Options, Revision

MODEL_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "README.md",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
"""The files of a transformers image model that are pulled: weights (no pickle) and configurations; no code."""

LICENSES = {"facebook/dinov2-small": "Apache-2.0"}
"""Model → license, as its card states it."""


class NeighborOptions(Options):
    """Options of all comparisons."""

    renamed = {"neighbours": "neighbors"}  # noqa: RUF012

    neighbors: int = Field(
        5, ge=1, le=100, description="k of density, coverage, precision and recall; reduced if there are too few images"
    )


class TrainedOptions(NeighborOptions):
    """The penultimate features of the run's classifier."""

    epochs: int | None = Field(
        6, ge=1, description="epochs of its training; null: as many as for the classifier, which may take hours"
    )


class ImageModelOptions(NeighborOptions):
    """Pooled features of a transformers image model."""

    short_option: ClassVar[str] = "model"

    model: str = Field(description="folder or Hub id of any transformers image model, with safetensors weights")
    revision: Revision | None = Field(
        None, description="commit, tag or branch on the Hub; null: locked when first pulled"
    )
    pooling: Literal["auto", "cls", "mean"] = Field(
        "auto",
        description="auto: the model's own pooling, or the image embedding of models for images and texts; cls: the "
        "first token; mean: over all tokens or positions",
    )
    batch_size: int = Field(32, ge=1, description="images that are processed together")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="number format of the model; auto: fp16 on cuda, fp32 elsewhere"
    )

    def models(self) -> tuple[ModelRef, ...]:
        license = LICENSES.get(self.model, "not stated")
        return (ModelRef(self.model, self.revision, files=MODEL_FILES, client_files=MODEL_FILES, license=license),)


class PixelsOptions(NeighborOptions):
    """Mean colours on a grid."""

    size: int = Field(8, ge=1, le=64, description="cells of the grid along each side; three features per cell")


class RandomFiltersOptions(NeighborOptions):
    """Pooled responses of random filters."""

    filters: int = Field(128, ge=1, le=4096, description="number of filters; two features each")
    filter_size: int = Field(3, ge=1, le=31, description="side of a filter, pixels")
    seed: int = Field(0, ge=0, description="of the filters; spaces of different seeds cannot be compared")
