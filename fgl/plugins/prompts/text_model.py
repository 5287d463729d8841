"""Descriptions written by a transformers language model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from fgl.errors import ModelError
from fgl.plugins._logging import quiet
from fgl.plugins.prompts import model_loading
from fgl.plugins.prompts.clean import clean
from fgl.plugins.prompts.options import DiversifiedOptions
from fgl.text import first_line

_ROUNDS = 3  # the model may write this many times the wanted number, until enough of them are distinct
# What chat models write before they answer, and how they number lists.
_PREAMBLE = re.compile(r"^(?:sure|certainly|of course|okay|ok|here(?:'s| is| are))\b[^:\n]*[:!\n]\s*", re.I)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.)])\s+")


def check(options: DiversifiedOptions, folder: Path) -> None:
    """Raise ModelError if a `Writer` could not be built from the folder. Loads no weights."""
    config = model_loading.buildable(AutoModelForCausalLM, folder, str(options.model))
    model_loading.load_tokenizer(folder, str(options.model), config)


class Writer:
    """A loaded model that writes what `instruction` asks for. Raises ModelError if it cannot be loaded or used."""

    def __init__(self, options: DiversifiedOptions, folder: Path, device: str) -> None:
        self._options, self._device, self._name = options, device, str(options.model)
        self._model: Any = model_loading.load(AutoModelForCausalLM, folder, self._name, device, options.dtype)
        self._tokenizer: Any = model_loading.load_tokenizer(folder, self._name, self._model.config)

    def write(self, instruction: str, count: int, seed: str) -> list[str]:
        """Up to `count` distinct descriptions. seed: determines what is drawn."""
        descriptions: dict[str, str] = {}
        per_round = -(-count // self._options.batch_size)
        for batch in range(_ROUNDS * per_round):
            for text in self._batch(instruction, f"{seed}/{batch}"):
                if text:
                    descriptions.setdefault(text.casefold(), text)
            if len(descriptions) >= count:
                break
        return list(descriptions.values())[:count]

    def _batch(self, instruction: str, seed: str) -> list[str]:
        try:
            with quiet(), torch.inference_mode(), _seeded(seed, torch.device(self._device)):
                if getattr(self._tokenizer, "chat_template", None):
                    chat = self._tokenizer.apply_chat_template(
                        [{"role": "user", "content": instruction}], add_generation_prompt=True, tokenize=False
                    )
                    inputs = self._tokenizer(chat, return_tensors="pt", add_special_tokens=False)
                else:
                    inputs = self._tokenizer(instruction, return_tensors="pt")
                ids = inputs["input_ids"].to(self._device)
                pad = self._tokenizer.pad_token_id
                written = self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    temperature=self._options.temperature,
                    num_return_sequences=self._options.batch_size,
                    max_new_tokens=self._options.max_new_tokens,
                    pad_token_id=self._tokenizer.eos_token_id if pad is None else pad,
                )
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"batch_size: {self._options.batch_size} texts at once do not fit into the memory of {self._device}; "
                "expected a smaller one, or a smaller model"
            ) from error
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ModelError(
                f"model: {self._name} does not write: {first_line(error)}; expected a causal language model whose "
                "context has room for the instruction and max_new_tokens"
            ) from error
        new = self._tokenizer.batch_decode(written[:, ids.shape[1] :].tolist(), skip_special_tokens=True)
        return [self._first_sentence(text) for text in new]

    def _first_sentence(self, text: str) -> str:
        text = _PREAMBLE.sub("", text.strip())
        line = next((line for line in text.splitlines() if line.strip()), "")
        line = re.split(r"(?<=[a-z)][.!?])\s", _BULLET.sub("", line))[0]
        return clean(line, self._options.max_words)


@contextmanager
def _seeded(seed: str, device: torch.device) -> Iterator[None]:
    """Seed the global random generators, from which transformers draws; outside, they are unchanged."""
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1
        torch.default_generator.manual_seed(number)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(number)
        yield


__all__ = ["Writer", "check"]
