"""Options of FedBiP: of its strategy, of its generator, and of both together."""

from __future__ import annotations

from typing import Any, Self

import fgl
from fgl import ModelRef, Options
from pydantic import Field, model_validator


class TokenOptions(Options):
    """Options of the prompt strategy."""

    template: str = Field("{label}", description="text with {label} that every row of a class starts from")
    rows_per_class: int = Field(5, ge=1, description="rows of each class, each with its own latent and noise")
    shots: int = Field(16, ge=1, description="images of each class that tokens are learned from")
    epochs: int = Field(50, ge=0, description="passes over these images; 0: tokens as they start")
    lr: float = Field(0.1, gt=0, description="learning rate of Adam on the tokens")
    batch_size: int = Field(16, ge=1, description="images of a step")
    noise: float = Field(0.1, ge=0, description="standard deviation of the noise on the domain token of each row")


class SamplerOptions(Options):
    """Options of the generator."""

    base: str = Field("sd15", description="fgl generator whose encoder, denoiser and decoder are used")
    base_options: dict[str, Any] = Field(default_factory=dict, description="options of that generator")
    latents: tuple[int, int, int] | None = Field(
        (4, 64, 64), description="shape of its latents: channels, height, width; null: none are sent"
    )
    strength: float = Field(
        0.8,
        gt=0,
        le=1,
        description="share of the noise schedule that latents are taken through; 1: only noise is left",
    )
    steps: int = Field(25, ge=1, le=1000, description="denoising steps of an image")
    guidance_scale: float = Field(1.0, ge=1, description="strength of classifier-free guidance; 1: off")
    batch_size: int = Field(16, ge=1, description="images that are denoised together")

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.inner()
        except fgl.ConfigError as error:
            raise ValueError("; ".join(map(str, error.problems))) from None
        return self

    def inner(self) -> Options:
        """The options of the base generator."""
        return fgl.options_of("generator", self.base, **self.base_options)

    def models(self) -> tuple[ModelRef, ...]:
        return self.inner().models()

    def files(self) -> tuple[str, ...]:
        return self.inner().files()


class FedBipOptions(SamplerOptions, TokenOptions):
    """Options of the method: those of both parts."""
