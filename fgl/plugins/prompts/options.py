"""Options of the built-in prompt strategies. Presets are the values of the paper's own code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fgl.core.options import Options
from fgl.plugins.prompts.template import A_LABEL, ATTRIBUTES, DOMAIN, LABEL, check_template

CLASS_TEMPLATE = "{label}, real world images, high resolution"
NEGATIVE_PROMPT = "low quality, low resolution"

# The spelling "clippart" is the authors'. Correcting it would change the text embedding.
DOMAINNET_TEMPLATES = {
    "clipart": "{label}, clippart, cartoon style, single object.",
    "infograph": "{label}, infograph images with only one object in the picture, including text descriptions of the "
    "object's components.",
    "painting": "{label}, painting with only one object in the picture, high resolution",
    "quickdraw": "a black and white drawing of {a label}",
    "real": "{label}, real world images, high resolution, only one object in the picture",
    "sketch": "{label}, Sketch drawing with only one object in the picture",
}
DOMAINNET_NEGATIVES: dict[str, str | None] = {"quickdraw": "colorful, painting"}

AttributeName = Literal["colours", "brightness", "texture", "layout"]


def _class_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL))


def _domain_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DOMAIN))


def _attributes_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, ATTRIBUTES), (LABEL, ATTRIBUTES))


def _attributes_domain_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DOMAIN, ATTRIBUTES), (LABEL, DOMAIN, ATTRIBUTES))


def _distinct(values: list[str]) -> list[str]:
    doubled = sorted({value for value in values if values.count(value) > 1})
    if doubled:
        raise ValueError(f"{doubled[0]!r} is listed twice: expected each at most once")
    return values


class ClassNameOptions(Options):
    """Options of `class-name`."""

    templates: Annotated[list[Annotated[str, AfterValidator(_class_template)]], AfterValidator(_distinct)] = Field(
        [CLASS_TEMPLATE],
        min_length=1,
        description="Texts with {label} or {a label}. Each class gets one prompt a template, and its samples are "
        "shared evenly among them.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )


class DomainOptions(Options):
    """Options of `domain`."""

    templates: dict[str, Annotated[str, AfterValidator(_domain_template)]] = Field(
        DOMAINNET_TEMPLATES,
        description="Domain to text with {label} or {a label}, and {domain} where wanted. Replaces the preset, which "
        "is the paper's for DomainNet, as a whole.",
    )
    default_template: Annotated[str, AfterValidator(_domain_template)] = Field(
        "{label}, {domain} style, real world images, high resolution",
        description="Text for domains that `templates` does not name.",
    )
    negative_prompts: dict[str, str | None] = Field(
        DOMAINNET_NEGATIVES,
        description="Domain to negative prompt, null or empty for none. Replaces the preset as a whole.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT,
        description="Negative prompt of domains that `negative_prompts` does not name; null or empty for none.",
    )


class AttributesOptions(Options):
    """Options of `attributes`."""

    attributes: Annotated[list[AttributeName], AfterValidator(_distinct)] = Field(
        ["colours", "brightness", "texture", "layout"],
        min_length=1,
        description="What to measure on each image, in the order in which the text names it.",
    )
    max_prompts: int = Field(
        40,
        ge=1,
        description="Distinct prompts kept for each class, shared among its domains where the text names them (one "
        "each at least). The most frequent stay; the samples of the others count for the most similar one that stays.",
    )
    include_domain: bool = Field(True, description="Name the domain in the text where the dataset has domains.")
    template: Annotated[str, AfterValidator(_attributes_template)] = Field(
        "{label}, {attributes}, real world images, high resolution",
        description="Text with {label} or {a label}, and {attributes}.",
    )
    domain_template: Annotated[str, AfterValidator(_attributes_domain_template)] = Field(
        "{label}, {domain} style, {attributes}, real world images, high resolution",
        description="Text with {label} or {a label}, {domain} and {attributes}, used where the domain is named.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )


__all__ = [
    "CLASS_TEMPLATE",
    "DOMAINNET_NEGATIVES",
    "DOMAINNET_TEMPLATES",
    "NEGATIVE_PROMPT",
    "AttributeName",
    "AttributesOptions",
    "ClassNameOptions",
    "DomainOptions",
]
