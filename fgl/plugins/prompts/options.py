"""Options of the built-in prompt strategies. Presets are the values of the paper's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fgl.contracts.options import ModelRef, Options, Revision
from fgl.plugins.prompts.template import A_LABEL, ATTRIBUTES, CAPTION, DETAILS, DOMAIN, LABEL, check_template

CLASS_TEMPLATE = "{label}, real world images, high resolution"
INSTANCE_TEMPLATE = "{label}, {caption}, real world images, high resolution."
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
ScrubKind = Literal["emails", "links", "handles", "numbers", "names", "rare"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.*",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "README.md",
)
"""The files of a transformers model that are pulled: weights (no pickle), configurations, tokenizer; no code."""

# The main branch of this model has only pickle weights. This revision is the one that the `mindone` library uses, which
# reads only safetensors.
SAFE_REVISIONS = {"Salesforce/blip-image-captioning-base": "refs/pr/50"}
LICENSES = {"Salesforce/blip-image-captioning-base": "BSD-3-Clause", "Salesforce/blip2-opt-2.7b": "MIT"}

VIEWS = [
    "seen from the front",
    "seen from the side",
    "seen from behind",
    "seen from above",
    "seen from below",
    "seen from far away",
    "close-up",
    "at eye level",
    "at an angle",
]
LIGHT = [
    "in bright sunlight",
    "on an overcast day",
    "in soft morning light",
    "at sunset",
    "at dusk",
    "under artificial light",
    "lit from the side",
    "against the light",
    "in deep shadow",
]
SETTINGS = [
    "in spring",
    "in summer",
    "in autumn",
    "in winter",
    "after rain",
    "in fog",
    "on a plain background",
    "on a cluttered background",
    "outdoors",
    "indoors",
]
COMPOSITION = [
    "in the center of the picture",
    "at the edge of the picture",
    "filling the picture",
    "small in the picture",
    "partly hidden",
    "cut off by the edge",
    "in sharp focus",
    "with a blurred background",
]


def check_class_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL))


def _domain_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DOMAIN))


def _attributes_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, ATTRIBUTES), (LABEL, ATTRIBUTES))


def _attributes_domain_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DOMAIN, ATTRIBUTES), (LABEL, DOMAIN, ATTRIBUTES))


def _caption_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DOMAIN, CAPTION), (LABEL, CAPTION))


def _details_template(template: str) -> str:
    return check_template(template, (LABEL, A_LABEL, DETAILS), (LABEL, DETAILS))


def _distinct(values: list[str]) -> list[str]:
    doubled = sorted({value for value in values if values.count(value) > 1})
    if doubled:
        raise ValueError(f"{doubled[0]!r} is listed twice: expected each at most once")
    return values


class ClassNameOptions(Options):
    """Options of `class-name`."""

    templates: Annotated[list[Annotated[str, AfterValidator(check_class_template)]], AfterValidator(_distinct)] = Field(
        [CLASS_TEMPLATE],
        min_length=1,
        description="Texts with {label} or {a label}. Each class gets one prompt per template, and its samples are "
        "shared evenly among them.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )


class DomainOptions(Options):
    """Options of `domain`."""

    templates: dict[str, Annotated[str, AfterValidator(_domain_template)]] = Field(
        DOMAINNET_TEMPLATES,
        description="Domain to text with {label} or {a label}, and optionally {domain}. Replaces the default, which is "
        "the paper's for DomainNet, as a whole.",
    )
    default_template: Annotated[str, AfterValidator(_domain_template)] = Field(
        "{label}, {domain} style, real world images, high resolution",
        description="Text for domains that `templates` does not name.",
    )
    negative_prompts: dict[str, str | None] = Field(
        DOMAINNET_NEGATIVES,
        description="Domain to negative prompt, null or empty for none. Replaces the default as a whole.",
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
        description="What to measure on each image, in the order of the text.",
    )
    max_prompts: int = Field(
        40,
        ge=1,
        description="Distinct prompts kept for each class, shared among its domains if the text names them (at least "
        "one each). The most frequent stay; the samples of the others count for the most similar one that stays.",
    )
    include_domain: bool = Field(True, description="Name the domain in the text if the dataset has domains.")
    template: Annotated[str, AfterValidator(_attributes_template)] = Field(
        "{label}, {attributes}, real world images, high resolution",
        description="Text with {label} or {a label}, and {attributes}.",
    )
    domain_template: Annotated[str, AfterValidator(_attributes_domain_template)] = Field(
        "{label}, {domain} style, {attributes}, real world images, high resolution",
        description="Text with {label} or {a label}, {domain} and {attributes}, used if the domain is named.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )


class BudgetOptions(Options):
    """How many prompts a client may upload."""

    max_per_class: int | None = Field(
        None,
        ge=1,
        description="Prompts kept for each class, shared among its domains if prompts have one (at least one each): "
        "fewer bytes for less diversity; null keeps all.",
    )
    choose: Literal["frequent", "sampled", "clustered"] = Field(
        "frequent",
        description="Which prompts stay. frequent: those of most images. sampled: drawn at random, weighted by their "
        "images. clustered: the medoids of a k-means of their embeddings, with each dropped prompt counting for the "
        "nearest one; otherwise the weight of dropped prompts is shared in proportion.",
    )


class CaptionOptions(BudgetOptions):
    """Options of `caption` and `caption-small`."""

    model: str = Field(
        "Salesforce/blip2-opt-2.7b",
        min_length=1,
        description="Folder or Hub id of a transformers model that captions images, with safetensors weights.",
    )
    revision: Revision | None = Field(
        None,
        min_length=1,
        description="Hub branch, tag or commit; null for the default branch (of BLIP base: the one with safetensors).",
    )
    dtype: Precision = Field("auto", description="Number format of the model; auto: fp16 on a GPU, else fp32.")
    batch_size: int = Field(
        8,
        ge=1,
        description="Images captioned together. The last batch is filled up, so that a caption does not depend on "
        "other images; another size may round differently, so captions are recomputed for it.",
    )
    max_new_tokens: int = Field(30, ge=1, le=512, description="Longest caption, in tokens.")
    num_beams: int = Field(1, ge=1, le=32, description="Beams of the search; 1: greedy, the likeliest token each time.")
    prefix: str = Field(
        "",
        description="Words that the caption continues, such as 'a photo of', and that are not repeated in the prompt; "
        "for a model that follows instructions, the instruction.",
    )
    max_words: int = Field(30, ge=1, description="Words kept of a caption.")
    template: Annotated[str, AfterValidator(_caption_template)] = Field(
        INSTANCE_TEMPLATE,
        description="Text with {label} or {a label}, and {caption}. With {domain} the upload carries the domain too.",
    )
    fallback_template: Annotated[str, AfterValidator(_domain_template)] = Field(
        CLASS_TEMPLATE, description="Text for images without a caption; with {label} or {a label}."
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )
    scrub: Annotated[list[ScrubKind], AfterValidator(_distinct)] = Field(
        ["emails", "links", "handles", "numbers", "names", "rare"],
        description="What is removed from captions; an empty list removes nothing. Words of class names stay.",
    )
    rare_below: int = Field(
        3,
        ge=1,
        description="A word that is neither ordinary English nor part of a class name stays only if the captions of at "
        "least this many of the client's images have it.",
    )
    keep_words: list[str] = Field([], description="Words that scrubbing leaves alone, whatever they look like.")

    @model_validator(mode="after")
    def _domains_agree(self) -> Self:
        if "{domain}" in self.fallback_template and "{domain}" not in self.template:
            raise ValueError(
                "fallback_template has {domain}, and template has not: expected it in both, or in template"
            )
        return self

    @property
    def pulled_revision(self) -> str | None:
        """The requested revision, or one that is known to hold safetensors."""
        return self.revision or SAFE_REVISIONS.get(self.model)

    def models(self) -> tuple[ModelRef, ...]:
        return (_model_use(self.model, self.pulled_revision),)

    def files(self) -> tuple[str, ...]:
        return (self.model,) if Path(self.model).expanduser().is_dir() else ()


class PromptsFileOptions(BudgetOptions):
    """Options of `prompts-file`."""

    path: str = Field(
        min_length=1, description="CSV or JSONL file with the columns `class` and `prompt`; see docs/prompts.md."
    )
    format: Literal["auto", "csv", "jsonl"] = Field("auto", description="auto: by the ending of the file's name.")
    missing: Literal["refuse", "class-name"] = Field(
        "refuse",
        description="What to do about classes that the client holds and the file lacks: refuse stops, class-name uses "
        "the class-level prompt.",
    )
    template: Annotated[str, AfterValidator(check_class_template)] = Field(
        CLASS_TEMPLATE, description="That class-level prompt, with {label} or {a label}."
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="For rows that state none; null or empty for no negative prompt."
    )

    def files(self) -> tuple[str, ...]:
        return (self.path,)


class DiversifiedOptions(BudgetOptions):
    """Options of `diversified`."""

    prompts_per_class: int = Field(20, ge=1, le=10_000, description="Distinct prompts written for each class.")
    seed: int = Field(
        0,
        ge=0,
        description="Together with the class name it determines what is drawn, so that all clients write the same "
        "prompts, which are then one conditioning each.",
    )
    views: Annotated[list[str], AfterValidator(_distinct)] = Field(
        VIEWS, description="Grammar: the viewpoint; an empty list leaves this out."
    )
    light: Annotated[list[str], AfterValidator(_distinct)] = Field(LIGHT, description="Grammar: the lighting.")
    settings: Annotated[list[str], AfterValidator(_distinct)] = Field(
        SETTINGS, description="Grammar: season, weather, surroundings."
    )
    composition: Annotated[list[str], AfterValidator(_distinct)] = Field(
        COMPOSITION, description="Grammar: the position in the picture."
    )
    more: dict[str, Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]] = Field(
        {}, description="Grammar: further parts, any name to its phrases; each prompt gets one phrase of each."
    )
    template: Annotated[str, AfterValidator(_details_template)] = Field(
        "{label}, {details}, real world images, high resolution",
        description="Text with {label} or {a label}, and {details}: phrases of the grammar, or what the model wrote.",
    )
    negative_prompt: str | None = Field(
        NEGATIVE_PROMPT, description="What pictures should not look like; null or empty for no negative prompt."
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="Folder or Hub id of a transformers model that writes text, with safetensors weights; null: the "
        "grammar writes all.",
    )
    revision: Revision | None = Field(None, min_length=1, description="Hub branch, tag or commit of the model.")
    instruction: Annotated[str, AfterValidator(check_class_template)] = Field(
        "Describe a photograph of {a label} in one short sentence: the view, the light and the surroundings.",
        description="What a chat model is asked, or the text that another model continues; with {label} or {a label}.",
    )
    dtype: Precision = Field("auto", description="Number format of the model; auto: fp16 on a GPU, else fp32.")
    batch_size: int = Field(8, ge=1, description="Texts that are written together.")
    max_new_tokens: int = Field(40, ge=1, le=1024, description="Longest text that the model writes, in tokens.")
    temperature: float = Field(
        1.0, gt=0, le=5, description="Temperature of the model's sampling: higher is more varied."
    )
    max_words: int = Field(30, ge=1, description="Words kept of what the model wrote.")

    @model_validator(mode="after")
    def _has_grammar(self) -> Self:
        if not (self.views or self.light or self.settings or self.composition or self.more):
            raise ValueError("the grammar has no phrases: expected some in views, light, settings, composition or more")
        return self

    def models(self) -> tuple[ModelRef, ...]:
        return () if self.model is None else (_model_use(self.model, self.revision),)

    def files(self) -> tuple[str, ...]:
        return (self.model,) if self.model is not None and Path(self.model).expanduser().is_dir() else ()


def _model_use(model: str, revision: str | None) -> ModelRef:
    return ModelRef(
        model, revision, files=MODEL_FILES, client_files=MODEL_FILES, license=LICENSES.get(model, "not stated")
    )


__all__ = [
    "CLASS_TEMPLATE",
    "DOMAINNET_NEGATIVES",
    "DOMAINNET_TEMPLATES",
    "INSTANCE_TEMPLATE",
    "MODEL_FILES",
    "NEGATIVE_PROMPT",
    "AttributeName",
    "AttributesOptions",
    "BudgetOptions",
    "CaptionOptions",
    "ClassNameOptions",
    "DiversifiedOptions",
    "DomainOptions",
    "Precision",
    "PromptsFileOptions",
    "ScrubKind",
]
