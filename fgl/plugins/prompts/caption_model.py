"""Captions images with a transformers model: BLIP, BLIP-2, GIT, an encoder with a decoder, or a chat model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from fgl.errors import ModelError
from fgl.plugins._logging import quiet
from fgl.plugins.prompts import model_loading
from fgl.plugins.prompts.options import CaptionOptions
from fgl.text import first_line

QUESTION = "Describe this image in one short sentence."
"""What a model that follows instructions is asked, unless `prefix` asks something else."""

# Models whose images and words are prepared separately, by an image processor and a tokenizer. For any other kind the
# model's own processor combines them.
_APART = ("blip", "blip-2", "git", "vision-encoder-decoder")


class Captioner:
    """A loaded model. It uses greedy or beam search and never samples: equal images and options yield equal captions.

    Raises ModelError if the model cannot be loaded, or does not caption.
    """

    def __init__(self, options: CaptionOptions, folder: Path, device: str) -> None:
        self._options, self._device = options, device
        self._model: Any = model_loading.load(AutoModelForImageTextToText, folder, options.model, device, options.dtype)
        self._kind = str(self._model.config.model_type)
        self._images, self._tokenizer = _processors(options, folder, self._model.config)

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """One caption for each image, as the model wrote it, without the prefix."""
        # Filled up to a full batch, so that rounding does not depend on the number of images.
        batch = [*images, *[images[-1]] * (self._options.batch_size - len(images))]
        try:
            with quiet(), torch.inference_mode():
                inputs = self._inputs(batch)
                written = self._model.generate(
                    **inputs,
                    max_new_tokens=self._options.max_new_tokens,
                    num_beams=self._options.num_beams,
                    do_sample=False,
                )
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"batch_size: {len(batch)} images at once do not fit into the memory of {self._device}; expected a "
                "smaller one, num_beams: 1, or a smaller model such as caption-small"
            ) from error
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ModelError(
                f"model: {self._options.model} ({self._kind}) does not caption: {first_line(error)}; expected a "
                "model that writes text about images, such as Salesforce/blip2-opt-2.7b"
            ) from error
        return [self._text(row, inputs, index) for index, row in enumerate(written[: len(images)].tolist())]

    def _inputs(self, batch: Sequence[Image.Image]) -> dict[str, Any]:
        if self._kind in _APART:
            pixels = self._images(images=list(batch), return_tensors="pt")["pixel_values"]
            inputs = {"pixel_values": pixels, **self._words(len(batch))}
        else:
            question = self._options.prefix or QUESTION
            if getattr(self._images, "chat_template", None):
                content = [{"type": "image"}, {"type": "text", "text": question}]
                question = self._images.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True
                )
            inputs = dict(
                self._images(
                    images=[[image] for image in batch], text=[question] * len(batch), return_tensors="pt", padding=True
                )
            )
        # not the model's own dtype: BLIP-2 keeps some parts in fp32
        dtype = model_loading.precision(self._options.dtype, self._device)
        return {
            name: value.to(self._device, dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, torch.Tensor)
        }

    def _words(self, count: int) -> dict[str, torch.Tensor]:
        """input_ids [count, s] of the prefix, in the form that each kind of model continues from."""
        prefix = self._options.prefix
        if not prefix:
            return {}
        ids = self._tokenizer(prefix).input_ids
        if self._kind == "git":  # continues from the last token, which must not be the end-of-sentence token
            ids = [self._tokenizer.cls_token_id, *self._tokenizer(prefix, add_special_tokens=False).input_ids]
        if self._kind == "blip-2":
            config = self._model.config
            ids = [config.image_token_index] * config.num_query_tokens + ids
        return {"input_ids": torch.tensor([ids] * count)}

    def _text(self, row: list[int], inputs: dict[str, Any], index: int) -> str:
        """The new words of a row: some models repeat the prefix, some do not."""
        if "input_ids" in inputs:
            given = inputs["input_ids"][index].tolist()
            if self._kind == "blip":  # drops the token that ends the prefix, and puts its own first
                given = [row[0], *given[1:-1]]
            if row[: len(given)] == given:
                row = row[len(given) :]
        image = getattr(self._model.config, "image_token_index", None)
        return str(self._tokenizer.decode([token for token in row if token != image], skip_special_tokens=True)).strip()


def check(options: CaptionOptions, folder: Path) -> None:
    """Raise ModelError if a `Captioner` could not be built from the folder. Loads no weights."""
    config = model_loading.buildable(AutoModelForImageTextToText, folder, options.model)
    _processors(options, folder, config)


def _processors(options: CaptionOptions, folder: Path, config: Any) -> tuple[Any, Any]:
    """(the processor of images, or of images with words; the tokenizer)."""
    images_class: Any = AutoImageProcessor  # transformers leaves these two untyped
    both_class: Any = AutoProcessor
    try:
        with quiet():
            if config.model_type in _APART:
                images: Any = images_class.from_pretrained(folder, **_LOCAL, **_without_torchvision())
                tokenizer: Any = AutoTokenizer.from_pretrained(folder, **_LOCAL)
            else:
                images = both_class.from_pretrained(folder, **_LOCAL)
                tokenizer = images.tokenizer
                tokenizer.padding_side = "left"  # text is generated at the end
    except Exception as error:  # OSError, ValueError, ImportError and what their files make them raise
        raise ModelError(
            f"model: {options.model} has no image processor or tokenizer that can be loaded: "
            f"{first_line(error)}; expected preprocessor_config.json (or processor_config.json) and the "
            "tokenizer's files beside the weights"
        ) from error
    model_loading.check_tokenizer(tokenizer, config, options.model)
    if options.prefix and config.model_type == "vision-encoder-decoder":
        raise ModelError(
            f"prefix: got {options.prefix!r}, but {options.model} takes no words; expected an empty prefix"
        )
    return images, tokenizer


def identity(options: CaptionOptions, folder: Path, device: str) -> str:
    """sha256 over everything that determines a caption from an image: the model's files and settings."""
    what = {
        "model": model_loading.digest(folder),
        "dtype": str(model_loading.precision(options.dtype, device)),
        "device": device.partition(":")[0],
        "batch_size": options.batch_size,
        "num_beams": options.num_beams,
        "max_new_tokens": options.max_new_tokens,
        "prefix": options.prefix,
    }
    return sha256(json.dumps(what, sort_keys=True, allow_nan=False).encode()).hexdigest()


_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def _without_torchvision() -> dict[str, Any]:
    """Prepare images with Pillow, even if torchvision is installed: resampling differs between the two."""
    if find_spec("transformers.image_processing_backends") is not None:
        return {"backend": "pil"}
    return {"use_fast": False}


__all__ = ["QUESTION", "Captioner", "check", "identity"]
