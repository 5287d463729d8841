"""Options of the generators that yield features or statistics of them, and no images."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from fgl.contracts.options import ModelRef, Options, Revision

# As of the feature spaces: weights without pickle, configurations, no code.
MODEL_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "README.md",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
DINOV2 = "facebook/dinov2-small"
DEFAULT_SPACE = "random-filters"


class FeatureOptions(Options):
    """What turns images into features, the same at all clients and at the server."""

    short_option: ClassVar[str] = "space"

    space: str = Field(
        DEFAULT_SPACE,
        min_length=1,
        description="feature space by name (fgl plugins list), one that needs no training: random-filters, "
        "pixels, dinov2, image-model",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="folder or Hub id of a transformers image model, which is the space then unless another one is "
        "set; the folder classifier/ of an fgl run is one",
    )
    revision: Revision | None = Field(None, description="commit, tag or branch of the model on the Hub")
    space_options: dict[str, Any] = Field(
        default_factory=dict, description="further options of the feature space (fgl plugins show NAME)"
    )
    image_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="side of the squares, in pixels, that images become before the space sees them; default: what the "
        "space's model reads, 32 for a space without a model",
    )

    max_norm: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="L2 norm to which longer feature vectors are scaled, at the clients and at the server; null: as "
        "the space makes them. Noise on statistics of them (gaussian-noise) presupposes it",
    )

    @property
    def space_name(self) -> str:
        """The feature space: that of any model where only a model is given."""
        return "image-model" if self.model is not None and self.space == DEFAULT_SPACE else self.space

    def models(self) -> tuple[ModelRef, ...]:
        model = self.model or (DINOV2 if self.space == "dinov2" else None)
        if model is None:
            return ()
        return (ModelRef(model, self.revision, files=MODEL_FILES, client_files=MODEL_FILES),)


class MomentsOptions(FeatureOptions):
    """Class means and second moments of features, as clients send them; nothing is drawn."""


class ClassGaussiansOptions(FeatureOptions):
    """Features drawn from the Gaussians that clients send, one or several for each class."""

    covariance: Literal["spherical", "diagonal", "full"] = Field(
        "full",
        description="of each Gaussian: one variance, one for each feature, or a matrix. A client sends d + 1, 2 d or "
        "d + d (d + 1) / 2 numbers for each, of d features",
    )
