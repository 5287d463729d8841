"""The client side: prompts to embeddings. Needs only tokenizers and text encoders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgl.plugins._logging import quiet_diffusers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array
    from fgl.contracts.prompts import Prompt
    from fgl.plugins.generators.pipeline_parts import Layout


log = logging.getLogger(__name__)


NEGATIVE = "negative_"


class PromptEncoder:
    """Encodes as the pipeline's `encode_prompt`, bit for bit if batches are equal (contract `Encoder`).

    Args:
        pipeline: The pipeline, with tokenizers and text encoders in float32.
        layout: The pipeline's layout, which names these parts.
        device: Where to encode.
        shapes: Shape of a row of each array: prompt_embeds (s, d) and, with two encoders, pooled_prompt_embeds (p,).
        batch_size: Number of texts that are encoded together.
        guidance: The highest scale that the generator uses by default.
        guided: Whether the model supports classifier-free guidance; a model that was distilled to take the scale as
            an input does not need negative prompts.
        zeros: Whether a prompt without a negative one is guided away from zeros instead of the empty text.
    """

    def __init__(
        self,
        pipeline: Any,
        layout: Layout,
        device: torch.device,
        shapes: Mapping[str, tuple[int, ...]],
        batch_size: int,
        guidance: float,
        guided: bool,
        zeros: bool,
    ) -> None:
        self._pipeline, self._layout, self._device, self._shapes = pipeline, layout, device, shapes
        self._batch_size, self._guidance, self._guided, self._zeros = batch_size, guidance, guided, zeros
        for name in layout.encoders:
            getattr(pipeline, name).to(device)

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """Encode the prompts.

        Returns: (arrays, indices). The arrays are prompt_embeds, float32 [n, s, d], with two encoders also
            pooled_prompt_embeds, float32 [n, p]; and if any prompt is guided, the same names after "negative_",
            float32 [m, …], one row for each distinct negative text, with indices into it, int32 [n], -1 where guidance
            is off.

        A guided prompt without a negative text gets the embedding that the pipeline would use, so that the server needs
        no text encoder. Texts that are too long are cut, and a warning counts them without quoting them.
        """
        texts = [prompt.text for prompt in prompts]
        distinct = list(dict.fromkeys(texts))
        guided = [self._is_guided(prompt) for prompt in prompts]
        # None stands for zeros
        negatives = [prompt.negative if prompt.negative or self._zeros else "" for prompt in prompts]
        against = list(dict.fromkeys(text for text, on in zip(negatives, guided, strict=True) if on))
        self._warn_of_cuts(list(dict.fromkeys([*distinct, *(text for text in against if text is not None)])))
        place = {text: row for row, text in enumerate(distinct)}
        rows = [place[text] for text in texts]
        arrays: dict[str, Array] = {name: array[rows] for name, array in self._encode(distinct).items()}
        if not against:
            return arrays, {}
        order: dict[str | None, int] = {text: row for row, text in enumerate(against)}
        index = np.array(
            [order[text] if on else -1 for text, on in zip(negatives, guided, strict=True)], dtype=np.int32
        )
        arrays |= {NEGATIVE + name: array for name, array in self._encode(against).items()}
        return arrays, {NEGATIVE + name: index for name in self._shapes}

    def _is_guided(self, prompt: Prompt) -> bool:
        scale = self._guidance if prompt.guidance_scale is None else prompt.guidance_scale
        return self._guided and scale > 1

    def _encode(self, texts: Sequence[str | None]) -> dict[str, NDArray[np.float32]]:
        """Each array, one row for each text; zeros for None."""
        arrays = {name: np.zeros((len(texts), *shape), dtype=np.float32) for name, shape in self._shapes.items()}
        to_encode = [row for row, text in enumerate(texts) if text is not None]
        with quiet_diffusers(), torch.no_grad():
            for start in range(0, len(to_encode), self._batch_size):
                rows = to_encode[start : start + self._batch_size]
                given = self._pipeline.encode_prompt(
                    prompt=[texts[row] for row in rows],
                    device=self._device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=False,
                )
                # (prompt_embeds, negative) or (prompt_embeds, negative, pooled, negative pooled)
                for name, embeds in zip(self._shapes, given[::2], strict=True):
                    arrays[name][rows] = embeds.cpu().numpy()
        return arrays

    def truncated(self, prompts: Sequence[Prompt]) -> int:
        """How many of the prompts have a text that is cut, or a negative text that is used and cut."""
        texts = {prompt.text for prompt in prompts}
        texts |= {prompt.negative for prompt in prompts if prompt.negative and self._is_guided(prompt)}
        cut = {text for text, length in self._lengths(sorted(texts)).items() if length > self._limit}
        return sum(prompt.text in cut or (prompt.negative in cut and self._is_guided(prompt)) for prompt in prompts)

    @property
    def _limit(self) -> int:
        return self._shapes["prompt_embeds"][0]

    def _lengths(self, texts: Sequence[str]) -> dict[str, int]:
        """Number of tokens of each text, by the tokenizer that yields the most."""
        if not texts:
            return {}
        with quiet_diffusers():
            counts = [getattr(self._pipeline, name)(list(texts)).input_ids for name in self._layout.tokenizers]
        return {
            text: max(len(ids) for ids in each) for text, each in zip(texts, zip(*counts, strict=True), strict=True)
        }

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        lengths = self._lengths(texts).values()
        cut = sum(length > self._limit for length in lengths)
        if cut:
            log.warning(
                "%d of %d texts are longer than the %d tokens that the text encoder accepts (longest: %d); their ends "
                "are cut: put what matters first, or shorten the prompts",
                cut,
                len(texts),
                self._limit,
                max(lengths),
            )
