"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component(
            name="feddeo",
            target="fgl_feddeo.strategy:FedDeo",
            options="fgl_feddeo.options:FedDeoOptions",
            summary="One embedding for each class, learned by SGD against the denoiser (arXiv 2407.19953).",
            provides=("arrays",),
            client_needs=("generator",),
        )
    ]


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="feddeo",
            target="fgl_feddeo.method:Method",
            options="fgl_feddeo.options:FedDeoOptions",
            summary="Learned descriptions of each class and client, one communication round (arXiv 2407.19953).",
        )
    ]
