"""Each image gets a caption of its class and domain, and what has none is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.core.captions import captions, check_classes, held_out
from fgl.errors import DataError
from fgl.testing.contracts import DrawnImages, client_context, encode_by_digest

SCHEMA = UploadSchema((ArraySpec("prompt_embeds", (4, 8)), ArraySpec("negative", (2,), shared=True)), "encoder")


class _Encoder:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        self.texts += [prompt.text for prompt in prompts]
        arrays = encode_by_digest(prompts)
        return {"prompt_embeds": next(iter(arrays.values())), "negative": np.zeros((1, 2))}, {}

    def truncated(self, prompts: Sequence[Prompt]) -> int:
        return 0


def _context() -> ClientContext:
    return client_context(DrawnImages(np.array([2, 0, 0, 3, 2, 2], dtype=np.int64), None))


def _of_class(context: ClientContext) -> list[Prompt]:
    return [Prompt(label, context.class_names[label]) for label in sorted(set(context.images.labels.tolist()))]


def test_an_image_is_captioned_by_a_prompt_of_its_class() -> None:
    context, encoder = _context(), _Encoder()
    result = captions(_of_class, context, encoder, SCHEMA, each=False)
    for group, label in zip(result.groups.tolist(), context.images.labels.tolist(), strict=True):
        assert {result.prompts[row].class_id for row in result.choices[group].tolist()} == {label}
    assert set(result.arrays) == {"prompt_embeds"}
    assert result.arrays["prompt_embeds"].dtype == np.float32


def test_each_text_is_encoded_once() -> None:
    encoder = _Encoder()
    result = captions(lambda context: _of_class(context) * 3, _context(), encoder, SCHEMA, each=False)
    assert len(encoder.texts) == len(set(encoder.texts))
    assert len(result.prompts) == len(result.arrays["prompt_embeds"]) == 3 * len(encoder.texts)


def test_a_prompt_of_another_domain_is_not_said_of_an_image() -> None:
    context = _context()
    domains = ["a", "b"] * 3
    context = replace(context, images=replace(context.images, domains=domains))

    def ask(context: ClientContext) -> list[Prompt]:
        return [replace(prompt, domain=domain) for prompt in _of_class(context) for domain in ("a", "b")]

    result = captions(ask, context, _Encoder(), SCHEMA, each=False)
    for group, domain in zip(result.groups.tolist(), domains, strict=True):
        assert {result.prompts[row].domain for row in result.choices[group].tolist()} == {domain}


def test_a_strategy_can_describe_each_image_by_itself() -> None:
    context, asked = _context(), []

    def ask(context: ClientContext) -> list[Prompt]:
        asked.append(len(context.images))
        return [Prompt(int(context.images.labels[0]), f"image {len(asked)}")]

    result = captions(ask, context, _Encoder(), SCHEMA, each=True)
    assert asked == [1] * len(context.images)
    assert [result.prompts[result.choices[group][0]].text for group in result.groups.tolist()] == [
        f"image {number + 1}" for number in range(len(context.images))
    ]


@pytest.mark.parametrize("each", [False, True])
def test_a_class_without_a_prompt_is_named(each: bool) -> None:
    def ask(context: ClientContext) -> list[Prompt]:
        return [prompt for prompt in _of_class(context) if prompt.class_id != int(_context().images.labels[0])]

    with pytest.raises(DataError, match="wrote no prompt for"):
        captions(ask, _context(), _Encoder(), SCHEMA, each=each)


def test_rows_of_a_set_keep_their_captions() -> None:
    context = _context()
    result = captions(_of_class, context, _Encoder(), SCHEMA, each=False)
    count = len(context.images)
    pixels = LabelledPixels(np.zeros((count, 4, 4, 3), np.uint8), context.images.labels)
    rows = np.array([count - 1, 0])
    some = result.of(pixels, rows)
    assert some.labels.tolist() == context.images.labels[rows].tolist()
    assert some.groups.tolist() == result.groups[rows].tolist()


def test_a_share_of_each_class_is_held_out_by_seed() -> None:
    labels = np.repeat(np.arange(3), [20, 10, 4])
    rows, out = held_out(labels, 0.1, 0)
    assert np.bincount(labels[out], minlength=3).tolist() == [2, 1, 0]
    assert sorted([*rows, *out]) == list(range(34))
    assert held_out(labels, 0.1, 0)[1].tolist() == out.tolist()
    assert held_out(labels, 0.1, 1)[1].tolist() != out.tolist()


def test_empty_classes_are_named() -> None:
    with pytest.raises(DataError, match="holds no image of 'cat', 'emu'"):
        check_classes(np.array([0, 0]), ["ant", "cat", "emu"], "the train split of zoo")
