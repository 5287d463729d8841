"""What fgl imports to learn that this plugin exists: keep it light."""

from __future__ import annotations

from fgl import Component, hookimpl


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="gpt-fl",
            target="fgl_gpt_fl.method:GptFl",
            options="fgl_gpt_fl.options:GptFlOptions",
            summary="Diversified prompts, random guidance, then a federated algorithm (arXiv 2306.02210).",
        )
    ]
