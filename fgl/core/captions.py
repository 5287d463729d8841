"""Images with the captions that a prompt strategy gives them, for a generator to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.adaptation import CaptionedImages
from fgl.contracts.dataset import LabelledPixels, Subset
from fgl.core.encoding import encode_once_warned
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.generator import Encoder, UploadSchema
    from fgl.contracts.prompts import ClientContext, Prompt

Ask = Callable[["ClientContext"], Sequence["Prompt"]]


@dataclass(frozen=True, slots=True)
class Captions:
    """What may be said of each of some images. See `CaptionedImages` for the fields."""

    prompts: tuple[Prompt, ...]
    """The captions, m of them, one for each row of `arrays`."""

    arrays: dict[str, Array]
    groups: Labels
    choices: tuple[Labels, ...]

    def whole(self, images: LabelledPixels) -> CaptionedImages:
        """All of the images with their captions. images: decoded."""
        return self.of(images, np.arange(len(images)))

    def of(self, images: LabelledPixels, rows: Labels) -> CaptionedImages:
        """Some of the images with their captions. images: all of them, decoded. rows: positions, int64 [k]."""
        return CaptionedImages(
            pixels=images.pixels[rows],
            labels=images.labels[rows],
            arrays=self.arrays,
            groups=self.groups[rows],
            choices=self.choices,
            weights=np.array([prompt.weight for prompt in self.prompts], dtype=np.float64),
        )


def captions(ask: Ask, context: ClientContext, encoder: Encoder, schema: UploadSchema, each: bool) -> Captions:
    """Have a prompt strategy describe the images of `context`, and encode what it says.

    ask: calls the strategy. each: whether it describes every image by itself, not all of a class and domain together.
    Raises DataError for a class of which it says nothing."""
    prompts, groups, choices = (_of_each if each else _of_classes)(ask, context)
    texts: dict[str, int] = {}
    for prompt in prompts:
        texts.setdefault(prompt.text, len(texts))
    distinct = list({prompt.text: prompt for prompt in reversed(prompts)}.values())[::-1]
    order = [texts[prompt.text] for prompt in prompts]
    encoded = encode_once_warned(encoder, sorted(distinct, key=lambda prompt: texts[prompt.text]))[0]
    names = [spec.name for spec in schema.arrays if not spec.shared]
    arrays = {name: np.asarray(encoded[name], dtype=np.float32)[order] for name in names if name in encoded}
    return Captions(tuple(prompts), arrays, groups, tuple(choices))


def _of_classes(ask: Ask, context: ClientContext) -> tuple[list[Prompt], Labels, list[Labels]]:
    """(prompts, group of each image, prompts of each group), a group for each class and domain."""
    prompts, images = list(ask(context)), context.images
    domains: Sequence[str | None] = [None] * len(images) if images.domains is None else images.domains
    keys = list(zip(images.labels.tolist(), domains, strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    choices = []
    for label, domain in places:
        of_class = [row for row, prompt in enumerate(prompts) if prompt.class_id == label]
        fitting = [row for row in of_class if domain is None or prompts[row].domain in (None, domain)] or of_class
        if not fitting:
            raise DataError(f"the prompt strategy wrote no prompt for class {context.class_names[label]!r}")
        choices.append(np.array(fitting, dtype=np.int64))
    return prompts, np.array([places[key] for key in keys], dtype=np.int64), choices


def _of_each(ask: Ask, context: ClientContext) -> tuple[list[Prompt], Labels, list[Labels]]:
    """As `_of_classes`, a group for each image."""
    prompts: list[Prompt] = []
    choices = []
    with context.progress.track("describe the images", len(context.images)) as task:
        for index in range(len(context.images)):
            of_image = list(ask(replace(context, images=Subset(context.images, [index]))))
            if not of_image:
                label = int(context.images.labels[index])
                raise DataError(f"the prompt strategy wrote no prompt for an image of {context.class_names[label]!r}")
            choices.append(np.arange(len(prompts), len(prompts) + len(of_image)))
            prompts += of_image
            task.advance()
    return prompts, np.arange(len(context.images)), choices


def held_out(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """(rows to train on, rows to hold out), both sorted: of each class the given share, rounded down, drawn by seed."""
    out = [
        np.random.default_rng([seed, 4, class_id]).permutation(rows)[: int(len(rows) * share)]
        for class_id in np.unique(labels).tolist()
        for rows in [np.flatnonzero(labels == class_id)]
    ]
    kept = np.sort(np.concatenate(out)) if out else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), kept), kept


def check_classes(labels: Labels, class_names: Sequence[str], where: str) -> None:
    """Raises DataError where a class has no image to learn from. where: the split, in words."""
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]
    if empty:
        some = ", ".join(map(repr, empty[:10])) + (", …" if len(empty) > 10 else "")
        raise DataError(
            f"{where} holds no image of {some}, which the generator could not learn: add images, or leave the class "
            "out of the class list"
        )
