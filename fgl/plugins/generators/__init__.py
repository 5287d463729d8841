"""Built-in generators: any Stable Diffusion pipeline of diffusers, and some models by name."""

from __future__ import annotations

from typing import Any

from fgl import hookimpl
from fgl.contracts.component import Component
from fgl.plugins.generators.known_models import SD15, SD21, SD_TURBO, SDXL, SDXL_TURBO

_SD = ("StableDiffusion", "StableDiffusionOptions")
_XL = ("StableDiffusionXL", "StableDiffusionXLOptions")


def _component(
    name: str, backend: tuple[str, str], summary: str, defaults: dict[str, Any], smoke: dict[str, Any] | None = None
) -> Component:
    return Component(
        name=name,
        target=f"fgl.plugins.generators.stable_diffusion:{backend[0]}",
        options=f"fgl.plugins.generators.options:{backend[1]}",
        summary=summary,
        defaults=defaults,
        smoke=smoke or {},
        accepts=("text", "denoiser"),
        tied_defaults={"model": ("revision", "mirrors"), "lora": ("lora_revision",)},
    )


@hookimpl
def fgl_generators() -> list[Component]:
    return [
        _component(
            "tiny",
            _SD,
            "Stable Diffusion in miniature, shipped with fgl: 32x32 pixels, made for CPUs",
            {
                "model": "embedded:tiny",
                "num_inference_steps": 16,
                "guidance_scale": 1.0,
                "batch_size": 100,
            },
            smoke={"batch_size": 40},
        ),
        _component("sd21", _SD, "Stable Diffusion 2.1 base, the paper's: 512x512, 50 steps, guidance 2", SD21),
        _component("sd15", _SD, "Stable Diffusion 1.5: 512x512, 50 steps, guidance 2; lora: lcm for 4 steps", SD15),
        _component("sdxl", _XL, "Stable Diffusion XL 1.0: 1024x1024, 50 steps, guidance 2; lora: lcm for 4", SDXL),
        _component("sd-turbo", _SD, "SD 2.1 distilled to 4 steps (1 works) without guidance: 512x512", SD_TURBO),
        _component("sdxl-turbo", _XL, "SDXL distilled to 4 steps (1 works) without guidance: 512x512", SDXL_TURBO),
        _component("stable-diffusion", _SD, "any Stable Diffusion 1.x or 2.x pipeline: a folder or a Hub id", {}),
        _component("stable-diffusion-xl", _XL, "any Stable Diffusion XL pipeline: a folder or a Hub id", {}),
        Component(
            name="moments",
            target="fgl.plugins.generators.moments:Moments",
            options="fgl.plugins.generators.feature_options:MomentsOptions",
            summary="no images: clients send means and second moments of features, for the heads analytic and gaussian",
            provides=("moments",),
            accepts=("moments",),
            tied_defaults={"model": ("revision",)},
            # Counts are exact, and the head is that of the pooled data only if no client's are scaled down.
            companions={
                "prompt_strategy": {"name": "moments"},
                "classifier": {"name": "analytic"},
                "upload": {"codec": "fp32", "max_weight_ratio": 1e9},
                "baselines": "none",
            },
        ),
        Component(
            name="class-gaussians",
            target="fgl.plugins.generators.class_gaussians:ClassGaussians",
            options="fgl.plugins.generators.feature_options:ClassGaussiansOptions",
            summary="no images: features drawn from Gaussians that clients fit to each class (FedPFT)",
            provides=("features",),
            accepts=("gaussians",),
            tied_defaults={"model": ("revision",)},
            companions={
                "prompt_strategy": {"name": "class-gaussians"},
                "classifier": {"name": "linear"},
                # features cost next to nothing, and few of them describe a full covariance badly
                "synthesis": {"images_per_class": 640},
                "baselines": "none",
            },
        ),
    ]
