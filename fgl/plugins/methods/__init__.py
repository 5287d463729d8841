"""Built-in methods."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="fgl",
            target="fgl.plugins.methods.generative:OneShot",
            summary="Federated generative learning in one round, as the configuration has it (arXiv 2306.16064).",
        ),
        Component(
            name="fgl-rounds",
            target="fgl.plugins.methods.generative:Rounds",
            options="fgl.plugins.methods.options:RoundsOptions",
            summary="The same, then rounds of local training and fine-tuning on the synthetic set (arXiv 2306.16064).",
        ),
    ]
