"""The text encoders from the input embeddings of one word on: what textual inversion optimizes.

Gal et al. 2022, arXiv 2208.01618. Shapes: n texts, k tokens of the longest word, d width of a text encoder, b rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers

if TYPE_CHECKING:
    from fgl.plugins.generators.pipeline_parts import Layout


class DiffusionWordVectors:
    """Encodes as the pipeline's `encode_prompt`, with other input embeddings for a word of each text (contract
    `WordVectors`).

    Args:
        pipeline: The pipeline, with tokenizers and text encoders in float32.
        layout: The pipeline's layout, which names these parts.
        device: Where to encode.
        names: Names of the arrays, as `encode_prompt` returns them.
        texts: The texts.
        words: For each of them, the part of it whose embeddings are replaced: its last occurrence of the word.

    Raises ModelError if a word is not in its text, is cut off, or has no token of its own.
    """

    def __init__(
        self,
        pipeline: Any,
        layout: Layout,
        device: torch.device,
        names: Sequence[str],
        texts: Sequence[str],
        words: Sequence[str],
    ) -> None:
        self._pipeline, self._layout, self._device, self._names = pipeline, layout, device, list(names)
        self._texts = list(texts)
        self._places: dict[str, list[list[int]]] = {}
        self.vectors: dict[str, Tensor] = {}
        for tokenizer, encoder in zip(layout.tokenizers, layout.encoders, strict=True):
            module = getattr(pipeline, encoder).to(device)
            tokens = getattr(pipeline, tokenizer)(
                self._texts,
                padding="max_length",
                truncation=True,
                max_length=getattr(pipeline, tokenizer).model_max_length,
                return_offsets_mapping=True,
                return_tensors="pt",
            )
            spans = tokens.offset_mapping.tolist()
            places = [_places(*each) for each in zip(self._texts, words, spans, strict=True)]
            table = module.get_input_embeddings().weight
            vectors = torch.zeros(len(places), max(map(len, places)), table.shape[1])
            for row, row_places in enumerate(places):
                vectors[row, : len(row_places)] = table[tokens.input_ids[row, row_places].to(table.device)].cpu()
            self._places[encoder], self.vectors[encoder] = places, vectors

    def encode(self, vectors: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """prompt_embeds float32 [b, s, d] and, with two encoders, pooled_prompt_embeds [b, p]; see the contract."""
        wanted = rows.tolist()
        with quiet_diffusers(), ExitStack() as stack:
            for encoder in self._layout.encoders:
                stack.enter_context(self._replaced(encoder, vectors[encoder], wanted))
            given = self._pipeline.encode_prompt(
                prompt=[self._texts[row] for row in wanted],
                device=self._device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )
        return dict(zip(self._names, given[::2], strict=True))

    @contextmanager
    def _replaced(self, encoder: str, vectors: Tensor, rows: Sequence[int]) -> Iterator[None]:
        """Put the vectors of `rows` in place of what the encoder's table has for their words."""
        places = self._places[encoder]
        batch = [index for index, row in enumerate(rows) for _ in places[row]]
        tokens = [place for row in rows for place in places[row]]
        source = [row for row in rows for _ in places[row]]
        rank = [index for row in rows for index in range(len(places[row]))]

        def replace(module: Any, given: Any, embedded: Tensor) -> Tensor:
            changed = embedded.clone()
            changed[batch, tokens] = vectors[source, rank].to(changed)
            return changed

        handle = getattr(self._pipeline, encoder).get_input_embeddings().register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


def _places(text: str, word: str, spans: Sequence[Sequence[int]]) -> list[int]:
    """Positions of the tokens that lie in the last occurrence of `word`."""
    start = text.rfind(word)
    if not word or start < 0:
        raise ModelError(f"the word {word[:100]!r} is not in the text {text[:100]!r}; expected a part of it")
    end = start + len(word)
    places = [place for place, (first, last) in enumerate(spans) if first < last and first < end and last > start]
    if not places or spans[places[-1]][1] < end:
        raise ModelError(
            f"the text {text[:100]!r} is cut before the end of {word[:100]!r}; expected a shorter text or class name"
        )
    return places
