"""The server side: embeddings and seeds to images, with the denoiser and the decoder alone.

Shape legend: b images of a batch, s tokens, d width, c latent channels, h height, w width in pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fgl.core.errors import ModelError
from fgl.plugins.generators.quiet import quiet

if TYPE_CHECKING:
    from fgl.core.types import Conditioning, Pixels, PlanItem, Shard
    from fgl.plugins.generators.options import StableDiffusionOptions

# A decoder holds hundreds of channels at full resolution: what it takes at once is bounded apart from the batch.
_DECODED_PIXELS = 8 * 512 * 512


class DiffusionSynthesizer:
    """Paints as `StableDiffusionPipeline.__call__` does, bit for bit in float32 where batches are equal (contract
    `Synthesizer`).

    The loop is its own for what the pipeline cannot do: a guidance scale for each image, and noise and latents that
    stay float32 when the denoiser is run in half precision. Noise drawn in 16 bits would be another picture, and
    latents would be rounded at every step.

    pipeline: with unet, vae and scheduler, in float32. size: (height, width), pixels.
    """

    def __init__(
        self,
        pipeline: Any,
        options: StableDiffusionOptions,
        device: torch.device,
        dtype: torch.dtype,
        size: tuple[int, int],
    ) -> None:
        self._pipeline, self._options, self._device, self._dtype, self._size = pipeline, options, device, dtype, size
        self._layout = torch.channels_last if options.channels_last else torch.contiguous_format
        # Some autoencoders overflow in fp16, and their configuration says so (as it does where it says nothing).
        upcast = dtype == torch.float16 and bool(pipeline.vae.config.get("force_upcast", False))
        self._vae_dtype = torch.float32 if upcast else dtype
        with quiet():  # diffusers warns of modules that it wants in float32 even where there are none
            pipeline.unet.to(device, dtype=dtype, memory_format=self._layout)
            pipeline.vae.to(device, dtype=self._vae_dtype, memory_format=self._layout)
        self._distilled: int | None = pipeline.unet.config.time_cond_proj_dim

    def synthesize(self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]) -> Iterator[Pixels]:
        """Yield uint8 [b, h, w, 3], b up to batch_size, rows following `shard.items`. progress: called after each
        batch with the number of its images.

        A short batch is filled up with copies of its last item, because kernels round differently with its size: an
        image comes out the same whatever is synthesized beside it. Raises ModelError where a guided row has no negative
        prompt, pixels are not finite, or memory runs out.
        """
        size = self._options.batch_size
        for guided, items in groupby(shard.items, lambda item: self._guided(item, conditioning)):
            run = list(items)
            for start in range(0, len(run), size):
                batch = run[start : start + size]
                full = [*batch, *[batch[-1]] * (size - len(batch))]
                pixels = self._paint(full, conditioning, guided)[: len(batch)]
                progress(len(batch))
                yield pixels

    def _guided(self, item: PlanItem, conditioning: Conditioning) -> bool:
        """Whether the item is denoised with and without its prompt: by its row's scale or, where that is a range, by
        the range, so that it does not depend on what the others draw."""
        if self._distilled is not None:
            return False
        scale = conditioning.guidance_scale[item.conditioning] if item.guidance_scale is None else item.guidance_scale
        return bool((self._options.guidance_range[1] if math.isnan(scale) else scale) > 1)

    def _paint(self, batch: Sequence[PlanItem], conditioning: Conditioning, guided: bool) -> Pixels:
        scales = [self._scale(item, conditioning) for item in batch]
        # benchmark would choose kernels by the clock
        deterministic = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        )
        # drawn on the CPU, so that every device gets the same noise
        generators = [torch.Generator("cpu").manual_seed(item.seed) for item in batch]
        try:
            with torch.no_grad(), deterministic:
                embeds = self._condition(batch, conditioning, scales, guided)
                latents = self._denoise(embeds, scales, generators, guided)
                return self._decode(latents, generators)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"out of memory with {len(batch)} images of {self._size[0]}x{self._size[1]} on {self._device}; lower "
                "the generator's batch_size"
            ) from error

    def _scale(self, item: PlanItem, conditioning: Conditioning) -> float:
        """The item's own guidance, else its row's, else the option's."""
        if item.guidance_scale is not None:
            return float(item.guidance_scale)
        row = float(conditioning.guidance_scale[item.conditioning])
        return draw_guidance(self._options.guidance_range, item.seed) if math.isnan(row) else row

    def _condition(
        self, batch: Sequence[PlanItem], conditioning: Conditioning, scales: Sequence[float], guided: bool
    ) -> Tensor:
        """[b, s, d] or, guided, [2b, s, d] with the negative rows first, in the denoiser's dtype."""
        positions = [item.conditioning for item in batch]
        embeds = conditioning.gather("prompt_embeds", positions)
        if any(row is None for row in embeds):
            raise ModelError("the conditioning has no prompt_embeds; expected uploads made for this generator")
        if guided:
            negatives = conditioning.gather("negative_prompt_embeds", positions)
            for index, scale in enumerate(scales):
                if negatives[index] is None:
                    if scale > 1:
                        raise ModelError(
                            f"conditioning {batch[index].conditioning_id} has no negative_prompt_embeds but a guidance "
                            f"scale of {scale:g}; expected clients and server to use one guidance_scale: encode the "
                            "prompts again with the server's, or set it to 1 here"
                        )
                    negatives[index] = embeds[index]  # only fills the batch: this row's guess is the unguided one
            embeds = [*negatives, *embeds]
        stacked = torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in embeds]))
        return stacked.to(self._device, self._dtype)

    def _denoise(
        self, embeds: Tensor, scales: Sequence[float], generators: list[torch.Generator], guided: bool
    ) -> Tensor:
        """float32 latents [b, c, h / scale, w / scale]."""
        pipeline, scheduler, unet = self._pipeline, self._pipeline.scheduler, self._pipeline.unet
        try:
            scheduler.set_timesteps(self._options.num_inference_steps, device=self._device)
        except (ValueError, IndexError) as error:
            raise ModelError(
                f"num_inference_steps: {type(scheduler).__name__} refuses {self._options.num_inference_steps}: {error}"
            ) from error
        latents: Tensor = pipeline.prepare_latents(
            len(scales), unet.config.in_channels, *self._size, torch.float32, self._device, generators
        )
        extra = pipeline.prepare_extra_step_kwargs(generators, 0.0)
        timestep_cond = None
        if self._distilled is not None:
            offset = torch.tensor([scale - 1 for scale in scales])
            timestep_cond = pipeline.get_guidance_scale_embedding(offset, embedding_dim=self._distilled)
            timestep_cond = timestep_cond.to(self._device, self._dtype)
        scale = torch.tensor(scales, device=self._device).view(-1, 1, 1, 1)
        mixed = guided and min(scales) <= 1
        for step in scheduler.timesteps:
            sample = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, step)
            sample = sample.to(self._dtype).contiguous(memory_format=self._layout)
            guess = unet(
                sample, step, encoder_hidden_states=embeds, timestep_cond=timestep_cond, return_dict=False
            )[0].float()  # fmt: skip
            if guided:
                without, guess = guess.chunk(2)
                pushed = without + scale * (guess - without)
                guess = torch.where(scale > 1, pushed, guess) if mixed else pushed
            latents = scheduler.step(guess, step, latents, **extra, return_dict=False)[0]
        return latents

    def _decode(self, latents: Tensor, generators: list[torch.Generator]) -> Pixels:
        """uint8 [b, h, w, 3], rounded as the pipeline's image processor does. Raises ModelError on NaN."""
        vae = self._pipeline.vae
        height, width = self._size
        most = max(1, _DECODED_PIXELS // (height * width))
        # equal parts, for the same reason as equal batches
        at_once = next(size for size in range(min(most, len(latents)), 0, -1) if len(latents) % size == 0)
        found: list[Pixels] = []
        for start in range(0, len(latents), at_once):
            part = latents[start : start + at_once] / vae.config.scaling_factor
            part = part.to(self._vae_dtype).contiguous(memory_format=self._layout)
            image = vae.decode(part, return_dict=False, generator=generators[start : start + at_once])[0].float()
            if not bool(torch.isfinite(image).all()):
                raise ModelError(
                    f"the generator's pixels are not finite in {str(self._dtype).removeprefix('torch.')}; set its "
                    "dtype to fp32, or bf16 where the device is fast at it"
                )
            image = (image * 0.5 + 0.5).clamp(0, 1).mul(255).round()
            found.append(image.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())
        return np.concatenate(found)


def draw_guidance(bounds: tuple[float, float], seed: int) -> float:
    """A scale between the bounds, uniform over seeds. Apart from the image's generator, so that a range and a number
    give the image the same noise."""
    low, high = bounds
    if low == high:
        return low
    drawn = int.from_bytes(hashlib.sha256(f"fgl guidance {seed}".encode()).digest()[:8], "big") / 2**64
    return low + (high - low) * drawn
