"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component(
            name="fedbip",
            target="fgl_fedbip.strategy:FedBip",
            options="fgl_fedbip.options:TokenOptions",
            summary="Learned class and domain tokens, and latents of two images each (arXiv 2410.04810).",
            provides=("arrays",),
            client_needs=("generator",),
        )
    ]


@hookimpl
def fgl_generators() -> list[Component]:
    return [
        Component(
            name="fedbip",
            target="fgl_fedbip.generator:FromLatents",
            options="fgl_fedbip.options:SamplerOptions",
            summary="Any Stable Diffusion generator of fgl, started from noisy latents (arXiv 2410.04810).",
        )
    ]


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="fedbip",
            target="fgl_fedbip.method:Method",
            options="fgl_fedbip.options:FedBipOptions",
            summary="Learned tokens and interpolated latents, one communication round (arXiv 2410.04810).",
        )
    ]
