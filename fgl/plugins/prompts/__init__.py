"""Built-in prompt strategies."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


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
            target="fgl.plugins.prompts.domain:DomainPrompts",
            options="fgl.plugins.prompts.options:DomainOptions",
            summary="The class name in the template of its domain: the paper's DomainNet prompts. Looks at no image.",
            requires=("domains",),
        ),
        Component(
            name="attributes",
            target="fgl.plugins.prompts.attributes:AttributePrompts",
            options="fgl.plugins.prompts.options:AttributesOptions",
            summary="The class name and what is measured on each image: colours, brightness, texture, layout.",
        ),
        Component(
            name="caption",
            target="fgl.plugins.prompts.caption:Caption",
            options="fgl.plugins.prompts.options:CaptionOptions",
            summary="The class name and a caption of each image: the paper's instance-level prompt, by BLIP-2.",
        ),
        Component(
            name="caption-small",
            target="fgl.plugins.prompts.caption:Caption",
            options="fgl.plugins.prompts.options:CaptionOptions",
            defaults={"model": "Salesforce/blip-image-captioning-base"},
            summary="As `caption`, by BLIP base: a quarter of a billion parameters, for small clients.",
        ),
        Component(
            name="prompts-file",
            target="fgl.plugins.prompts.prompts_file:PromptsFile",
            options="fgl.plugins.prompts.options:PromptsFileOptions",
            summary="Prompts that you wrote, from a CSV or JSONL file. Looks at no image.",
        ),
        Component(
            name="diversified",
            target="fgl.plugins.prompts.diversified:Diversified",
            options="fgl.plugins.prompts.options:DiversifiedOptions",
            summary="Many prompts per class from a grammar of views and light, or a text model. Looks at no image.",
        ),
        Component(
            name="learned",
            target="fgl.plugins.prompts.learned:LearnedPrompts",
            options="fgl.plugins.prompts.learned_options:LearnedOptions",
            summary="Embeddings that each client learns from its images, for what the generator does not know by name.",
            provides=("arrays", "text", "denoiser"),
            client_needs=("generator",),
            smoke={"steps": 4, "batch_size": 16, "images_per_class": 8},
        ),
        Component(
            name="moments",
            target="fgl.plugins.prompts.feature_statistics:MomentsStrategy",
            options="fgl.plugins.prompts.statistics_options:MomentsOptions",
            summary="No prompts: class means and second moments of the images' features. For the generator moments.",
            provides=("arrays", "moments"),
            client_needs=("generator",),
        ),
        Component(
            name="class-gaussians",
            target="fgl.plugins.prompts.feature_statistics:ClassGaussiansStrategy",
            options="fgl.plugins.prompts.statistics_options:ClassGaussiansOptions",
            summary="No prompts: Gaussians of each class's features. For the generator class-gaussians.",
            provides=("arrays", "gaussians"),
            client_needs=("generator",),
        ),
    ]
