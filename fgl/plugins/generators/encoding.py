"""The client side: prompts to embeddings, with the tokenizer and the text encoder alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgl.plugins.generators.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.core.types import Array, Prompt

log = logging.getLogger(__name__)


class PromptEncoder:
    """Encodes as `StableDiffusionPipeline.encode_prompt`, bit for bit where batches are equal (contract `Encoder`).

    pipeline: with tokenizer and text encoder in float32. shape: (s, d). batch_size: texts that are encoded together.
    guidance: the highest scale that the generator uses on its own. guided: whether the model takes classifier-free
    guidance at all; one that was distilled to take the scale as an input has no use for negative prompts.
    """

    def __init__(
        self,
        pipeline: Any,
        device: torch.device,
        shape: tuple[int, int],
        batch_size: int,
        guidance: float,
        guided: bool,
    ) -> None:
        self._pipeline, self._device, self._shape = pipeline, device, shape
        self._batch_size, self._guidance, self._guided = batch_size, guidance, guided
        pipeline.text_encoder.to(device)

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """(arrays, indices): prompt_embeds float32 [n, s, d]; negative_prompt_embeds float32 [m, s, d], one row a
        distinct negative text, with int32 [n] indices into it, -1 where guidance is off. Both of the latter are
        missing where no prompt is guided.

        A guided prompt without a negative text gets the embedding of "", as the pipeline gives it: so the server needs
        no text encoder. Texts that are too long are cut, and a warning counts them without quoting them.
        """
        negatives = [(prompt.negative or "") if self._is_guided(prompt) else None for prompt in prompts]
        texts = [prompt.text for prompt in prompts]
        distinct = list(dict.fromkeys(texts))
        against = list(dict.fromkeys(text for text in negatives if text is not None))
        self._warn_of_cuts(list(dict.fromkeys([*distinct, *against])))
        place = {text: row for row, text in enumerate(distinct)}
        arrays: dict[str, Array] = {"prompt_embeds": self._encode(distinct)[[place[text] for text in texts]]}
        if not against:
            return arrays, {}
        arrays["negative_prompt_embeds"] = self._encode(against)
        rows = {text: row for row, text in enumerate(against)}
        index = np.array([-1 if text is None else rows[text] for text in negatives], dtype=np.int32)
        return arrays, {"negative_prompt_embeds": index}

    def _is_guided(self, prompt: Prompt) -> bool:
        scale = self._guidance if prompt.guidance_scale is None else prompt.guidance_scale
        return self._guided and scale > 1

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.empty((len(texts), *self._shape), dtype=np.float32)
        with quiet(), torch.no_grad():
            for start in range(0, len(texts), self._batch_size):
                batch = list(texts[start : start + self._batch_size])
                embeds, _ = self._pipeline.encode_prompt(batch, self._device, 1, False)
                found[start : start + len(batch)] = embeds.cpu().numpy()
        return found

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        if not texts:
            return
        with quiet():
            lengths = [len(ids) for ids in self._pipeline.tokenizer(list(texts)).input_ids]
        limit = self._shape[0]
        cut = sum(length > limit for length in lengths)
        if cut:
            log.warning(
                "%d of %d texts are longer than the %d tokens that the text encoder takes (longest: %d); their ends "
                "are cut: put what matters first, or shorten the prompts",
                cut, len(texts), limit, max(lengths),
            )  # fmt: skip
