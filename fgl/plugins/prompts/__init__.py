"""Built-in prompt strategies."""

from __future__ import annotations

from fgl.core.hookspecs import hookimpl
from fgl.core.types import Component


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component(
            name="class-name",
            target="fgl.plugins.prompts.class_name:ClassName",
            options="fgl.plugins.prompts.options:ClassNameOptions",
            summary="The class name in a template: the paper's class-level prompt. Looks at no image.",
        ),
        Component(
            name="domain",
            target="fgl.plugins.prompts.domain:Domain",
            options="fgl.plugins.prompts.options:DomainOptions",
            summary="The class name in the template of its domain: the paper's DomainNet prompts. Looks at no image.",
            needs=("domains",),
        ),
        Component(
            name="attributes",
            target="fgl.plugins.prompts.attributes:AttributePrompts",
            options="fgl.plugins.prompts.options:AttributesOptions",
            summary="The class name and what is measured on each image: colours, brightness, texture, layout.",
        ),
    ]
