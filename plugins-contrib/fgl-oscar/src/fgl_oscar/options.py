"""What a user can set under `prompt_strategy:` and `method:`."""

from __future__ import annotations

from typing import Any, Self

import fgl
from fgl import ModelRef, Options
from pydantic import Field, model_validator


class OscarOptions(Options):
    """Options of `oscar`."""

    captions: str = Field("caption", description="prompt strategy that describes the images: caption, caption-small, …")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of that strategy, such as {model: ./blip, max_words: 20}"
    )
    per_domain: bool = Field(
        False, description="one mean for each domain of a client too, where the captions state domains"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.inner()
        except fgl.ConfigError as error:
            raise ValueError("; ".join(map(str, error.problems))) from None
        return self

    def inner(self) -> Options:
        """The options of the strategy that writes the captions."""
        return fgl.options_of("prompt_strategy", self.captions, **self.options)

    def models(self) -> tuple[ModelRef, ...]:
        return self.inner().models()

    def files(self) -> tuple[str, ...]:
        return self.inner().files()


class OscarMethodOptions(OscarOptions):
    """Options of the method `oscar`."""

    guidance_scale: float = Field(7.5, ge=0, description="strength of classifier-free guidance")
    num_inference_steps: int = Field(50, ge=1, description="denoising steps per image")
