"""The server side: embeddings and seeds to images. Needs only the denoiser and the decoder.

Shapes: b images of a batch, s tokens, d width, p pooled width, c latent channels, h height, w width in pixels.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fgl.contracts.generator import ImageBatch
from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins.generators.batching import batch_size, is_out_of_memory, release
from fgl.plugins.generators.encoder import NEGATIVE
from fgl.plugins.generators.image_start import encoded, noised
from fgl.plugins.generators.micro_conditions import time_ids
from fgl.plugins.generators.pipeline_parts import STABLE_DIFFUSION_XL
from fgl.text import first_line

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.generator import PlanItem, Shard
    from fgl.plugins.generators.image_start import ImageStart
    from fgl.plugins.generators.options import StableDiffusionOptions
    from fgl.plugins.generators.pipeline_parts import Layout
    from fgl.plugins.generators.safety_checker import SafetyCheck


log = logging.getLogger(__name__)

# A decoder holds hundreds of channels at full resolution: the number of images that it decodes together has a limit of
# its own.
_DECODED_PIXELS = 8 * 512 * 512


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The conditions under which a batch is denoised."""

    embeds: Tensor
    """[b, s, d] or, guided, [2b, s, d] with the negative rows first."""

    added: Mapping[str, Tensor]
    """What the denoiser takes in addition, with rows in the same order."""

    scales: Sequence[float]
    """Guidance scale of each image."""

    guided: bool
    """Whether the batch is denoised with and without its prompts."""


class DiffusionSynthesizer:
    """Generates as the pipeline's `__call__`, bit for bit in float32 if batches are equal (contract `Synthesizer`).

    It has its own loop for what the pipelines cannot do: a guidance scale for each image, and noise and latents that
    stay float32 when the denoiser runs in half precision. Noise drawn in 16 bits would yield another image, and latents
    would be rounded at every step.

    Args:
        pipeline: The pipeline, with unet, vae and scheduler in float32.
        layout: The pipeline's layout.
        options: The generator's options.
        device: Where to generate.
        dtype: Number format of the denoiser.
        size: (height, width), in pixels.
        safety: Rejects images; None: off.
        micro: Sizes and crop that the denoiser receives, for layouts that have them.
        start: What images are variations of, as in the image-to-image pipelines; None: they begin from noise.
    """

    def __init__(
        self,
        pipeline: Any,
        layout: Layout,
        options: StableDiffusionOptions,
        device: torch.device,
        dtype: torch.dtype,
        size: tuple[int, int],
        safety: SafetyCheck | None,
        micro: Mapping[str, Any],
        start: ImageStart | None = None,
    ) -> None:
        self._start = start
        self._pipeline, self._options, self._device, self._dtype, self._size = pipeline, options, device, dtype, size
        self._xl, self._safety, self._micro = layout is STABLE_DIFFUSION_XL, safety, micro
        self._layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self._batch = batch_size(options.batch_size, device, size)
        self._sizes = [self._batch]
        # Some autoencoders overflow in fp16, and their configuration says so.
        upcast = dtype == torch.float16 and bool(pipeline.vae.config.get("force_upcast", False))
        self._vae_dtype = torch.float32 if upcast else dtype
        self._away = torch.device("cpu") if options.offload == "model" else device
        with quiet_diffusers():  # diffusers warns of modules that it wants in float32 even if there are none
            pipeline.unet.to(self._away, dtype=dtype, memory_format=self._layout)
            pipeline.vae.to(self._away, dtype=self._vae_dtype, memory_format=self._layout)
        if options.attention == "plain":
            from diffusers.models.attention_processor import AttnProcessor

            pipeline.unet.set_attn_processor(AttnProcessor())
        if options.vae_slicing:
            pipeline.vae.enable_slicing()
        if options.vae_tiling:
            pipeline.vae.enable_tiling()
        self._distilled: int | None = pipeline.unet.config.time_cond_proj_dim
        self._unet: Any = torch.compile(pipeline.unet) if options.compile else pipeline.unet

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        """Yield batches of at most the batch size, uint8 [b, h, w, 3], in the order of `shard.items`.

        A short batch is filled up with copies of its last item, because rounding in kernels depends on its size: an
        image must come out the same whatever is synthesized beside it.

        Args:
            shard: What to synthesize.
            conditioning: The rows that its items point to.
            progress: Called after each batch with the number of its images.

        Raises ModelError if a guided row has no negative prompt, pixels are not finite, or memory runs out.
        """
        for guided, items in groupby(shard.items, lambda item: self._guided(item, conditioning)):
            run = list(items)
            start = 0
            while start < len(run):
                batch = run[start : start + self._batch]
                full = [*batch, *[batch[-1]] * (self._batch - len(batch))]
                painted = self._try(full, conditioning, guided)
                if painted is None:
                    continue
                pixels, blanked = painted.pixels[: len(batch)], painted.rejected
                start += len(batch)
                progress(len(batch))
                yield ImageBatch(
                    shrink(pixels, self._options.save_size), tuple(place for place in blanked if place < len(batch))
                )

    def load_denoiser(self, weights: Mapping[str, Tensor]) -> None:
        """Replace all weights of the denoiser; they are converted to its dtype."""
        self._pipeline.unet.load_state_dict(weights)

    def notes(self) -> Mapping[str, object]:
        """batch_size: images denoised together. batch_sizes: all sizes in turn, if memory ran out on the way."""
        notes: dict[str, object] = {"batch_size": self._batch}
        return notes if len(self._sizes) == 1 else {**notes, "batch_sizes": self._sizes}

    def _guided(self, item: PlanItem, conditioning: Conditioning) -> bool:
        """Whether the item is denoised with and without its prompt.

        That depends on its row's scale or, if the scale is drawn from a range, on the range, so that it does not depend
        on what other items draw.
        """
        if self._distilled is not None:
            return False
        scale = conditioning.guidance_scale[item.conditioning] if item.guidance_scale is None else item.guidance_scale
        return bool((self._options.guidance_range[1] if math.isnan(scale) else scale) > 1)

    def _try(self, batch: Sequence[PlanItem], conditioning: Conditioning, guided: bool) -> ImageBatch | None:
        """The batch, or None if memory ran out and the batch size was halved."""
        try:
            pixels = self._paint(batch, conditioning, guided)
            return ImageBatch(pixels, () if self._safety is None else self._safety.blanked(pixels))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error, 200)
        # Outside of the handler, whose traceback keeps the tensors of the attempt alive.
        release(self._device)
        height, width = self._size
        problem = f"out of memory with {len(batch)} images of {height}x{width} on {self._device}"
        if self._options.batch_size != "auto" or self._batch == 1:
            lower = "set the generator's offload to model, vae_tiling to true, or a smaller height and width"
            hint = lower if self._batch == 1 else "lower the generator's batch_size, or set it to auto"
            raise ModelError(f"{problem} ({reason}); {hint}")
        self._batch = max(1, self._batch // 2)
        self._sizes.append(self._batch)
        log.warning("%s: continuing with %d at a time", problem, self._batch)
        return None

    def _paint(self, batch: Sequence[PlanItem], conditioning: Conditioning, guided: bool) -> Pixels:
        # benchmark would choose kernels by timing them
        deterministic = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        )
        # drawn on the CPU, so that every device gets the same noise
        generators = [torch.Generator("cpu").manual_seed(item.seed) for item in batch]
        with torch.no_grad(), deterministic:
            latents = self._denoise(self._condition(batch, conditioning, guided), generators, batch)
            return self._decode(latents, generators)

    def _scale(self, item: PlanItem, conditioning: Conditioning) -> float:
        """The item's own guidance scale, else its row's, else the option's."""
        if item.guidance_scale is not None:
            return float(item.guidance_scale)
        row = float(conditioning.guidance_scale[item.conditioning])
        return draw_guidance(self._options.guidance_range, item.seed) if math.isnan(row) else row

    def _condition(self, batch: Sequence[PlanItem], conditioning: Conditioning, guided: bool) -> _Conditions:
        scales = [self._scale(item, conditioning) for item in batch]
        embeds = self._rows("prompt_embeds", batch, conditioning, scales, guided)
        if not self._xl:
            return _Conditions(embeds, {}, scales, guided)
        pooled = self._rows("pooled_prompt_embeds", batch, conditioning, scales, guided)
        ids = time_ids(self._micro, self._size, len(pooled)).to(self._device)
        return _Conditions(embeds, {"text_embeds": pooled, "time_ids": ids}, scales, guided)

    def _rows(
        self, name: str, batch: Sequence[PlanItem], conditioning: Conditioning, scales: Sequence[float], guided: bool
    ) -> Tensor:
        """[b, …] or, guided, [2b, …] with the negative rows first, in the denoiser's dtype."""
        positions = [item.conditioning for item in batch]
        rows = conditioning.gather(name, positions)
        if any(row is None for row in rows):
            raise ModelError(f"the conditioning has no {name}; expected uploads made for this generator")
        if guided:
            negatives = conditioning.gather(NEGATIVE + name, positions)
            for index, scale in enumerate(scales):
                if negatives[index] is None:
                    if scale > 1:
                        raise ModelError(
                            f"conditioning {batch[index].conditioning_id} has no {NEGATIVE + name} but a guidance "
                            f"scale of {scale:g}; expected clients and server to use one guidance_scale: encode the "
                            "prompts again with the server's, or set it to 1 here"
                        )
                    negatives[index] = rows[index]  # a placeholder: this row's guess is the unguided one
            rows = [*negatives, *rows]
        stacked = torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in rows]))
        return stacked.to(self._device, self._dtype)

    def _denoise(self, conditions: _Conditions, generators: list[torch.Generator], batch: Sequence[PlanItem]) -> Tensor:
        """float32 latents [b, c, h / scale, w / scale]."""
        pipeline, scheduler, scales = self._pipeline, self._pipeline.scheduler, conditions.scales
        guided = conditions.guided
        try:
            scheduler.set_timesteps(self._options.num_inference_steps, device=self._device)
        except (ValueError, IndexError) as error:
            raise ModelError(
                f"num_inference_steps: {type(scheduler).__name__} rejects {self._options.num_inference_steps}: "
                f"{first_line(error)}"
            ) from error
        latents, timesteps = self._begun(batch, generators)
        extra = pipeline.prepare_extra_step_kwargs(generators, 0.0)
        timestep_cond = None
        if self._distilled is not None:
            offset = torch.tensor([scale - 1 for scale in scales])
            timestep_cond = pipeline.get_guidance_scale_embedding(offset, embedding_dim=self._distilled)
            timestep_cond = timestep_cond.to(self._device, self._dtype)
        if self._xl and self._start is None and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)  # as only that pipeline does
        scale = torch.tensor(scales, device=self._device).view(-1, 1, 1, 1)
        mixed = guided and min(scales) <= 1
        self._swap(pipeline.unet, pipeline.vae)
        for step in timesteps:
            sample = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, step)
            sample = sample.to(self._dtype).contiguous(memory_format=self._layout)
            guess = self._unet(
                sample,
                step,
                encoder_hidden_states=conditions.embeds,
                timestep_cond=timestep_cond,
                added_cond_kwargs=conditions.added or None,
                return_dict=False,
            )[0].float()
            if guided:
                without, guess = guess.chunk(2)
                pushed = without + scale * (guess - without)
                guess = torch.where(scale > 1, pushed, guess) if mixed else pushed
            latents = scheduler.step(guess, step, latents, **extra, return_dict=False)[0]
        return latents

    def _begun(self, batch: Sequence[PlanItem], generators: list[torch.Generator]) -> tuple[Tensor, Any]:
        """(float32 latents [b, c, h / scale, w / scale] that denoising begins with, the steps that it takes)."""
        pipeline, scheduler, start = self._pipeline, self._pipeline.scheduler, self._start
        if start is None:
            noise: Tensor = pipeline.prepare_latents(
                len(batch), pipeline.unet.config.in_channels, *self._size, torch.float32, self._device, generators
            )
            return noise, scheduler.timesteps
        timesteps = start.timesteps(scheduler, self._options.num_inference_steps)
        self._swap(pipeline.vae, pipeline.unet)
        images = start.pixels(batch, self._size).to(self._device, self._vae_dtype)
        latents = self._scaled(encoded(pipeline.vae, images, generators))
        return noised(scheduler, latents, timesteps[:1], generators), timesteps

    def _decode(self, latents: Tensor, generators: list[torch.Generator]) -> Pixels:
        """uint8 [b, h, w, 3], rounded as the pipeline's image processor does. Raises ModelError on NaN."""
        vae = self._pipeline.vae
        self._swap(vae, self._pipeline.unet)
        latents = self._unscaled(latents)
        height, width = self._size
        most = max(1, _DECODED_PIXELS // (height * width))
        # equal parts, for the same reason as equal batches
        at_once = next(size for size in range(min(most, len(latents)), 0, -1) if len(latents) % size == 0)
        images: list[Pixels] = []
        for start in range(0, len(latents), at_once):
            part = latents[start : start + at_once].to(self._vae_dtype).contiguous(memory_format=self._layout)
            # the XL pipeline gives its decoder no generator
            extra = {} if self._xl else {"generator": generators[start : start + at_once]}
            image = vae.decode(part, return_dict=False, **extra)[0].float()
            if not bool(torch.isfinite(image).all()):
                raise self._overflown()
            image = (image * 0.5 + 0.5).clamp(0, 1).mul(255).round()
            images.append(image.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())
        return np.concatenate(images)

    def _overflown(self) -> ModelError:
        """The error for pixels that are not finite, although the weights are (they were checked when loaded)."""
        kind = str(self._dtype).removeprefix("torch.")
        if self._dtype != torch.float32:
            advice = "set its dtype to fp32, or to bf16 if the device is fast at it"
        else:
            advice = "no number format fixes that: try the model's own scheduler and guidance_scale, or another model"
        return ModelError(f"the generator's pixels are not finite in {kind}; {advice}")

    def _unscaled(self, latents: Tensor) -> Tensor:
        """The decoder's input, from the denoiser's output."""
        config = self._pipeline.vae.config
        scale = float(config.scaling_factor)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if not self._xl or mean is None or std is None:
            return latents / scale
        shift, spread = (torch.tensor(one, device=latents.device).view(1, -1, 1, 1) for one in (mean, std))
        return latents * spread / scale + shift

    def _scaled(self, latents: Tensor) -> Tensor:
        """The denoiser's input, from what the encoder yields: `_unscaled` backwards, in the pipelines' order."""
        config = self._pipeline.vae.config
        scale = float(config.scaling_factor)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if not self._xl or mean is None or std is None:
            return scale * latents
        shift, spread = (torch.tensor(one, device=latents.device).view(1, -1, 1, 1) for one in (mean, std))
        return (latents - shift) * scale / spread

    def _swap(self, wanted: Any, other: Any) -> None:
        """With offload, move one network to the device and the other to main memory."""
        if self._away != self._device:
            other.to(self._away)
            wanted.to(self._device)


def kept_size(size: tuple[int, int], shorter: int | None) -> tuple[int, int]:
    """(height, width) of the images that are kept: `size`, or shrunk so that the shorter side is `shorter`."""
    if shorter is None or shorter >= min(size):
        return size
    height, width = (round(side * shorter / min(size)) for side in size)
    return height, width


def shrink(pixels: Pixels, shorter: int | None) -> Pixels:
    """Shrink images so that their shorter side is `shorter` pixels: uint8 [b, h, w, 3], with Pillow's Lanczos."""
    height, width = kept_size((pixels.shape[1], pixels.shape[2]), shorter)
    if (height, width) == pixels.shape[1:3]:
        return pixels
    images = (Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS) for image in pixels)
    return np.stack([np.asarray(image) for image in images])


def draw_guidance(bounds: tuple[float, float], seed: int) -> float:
    """A scale between the bounds, uniform over seeds.

    It does not use the image's random generator, so that a range and a number give the image the same noise.
    """
    low, high = bounds
    if low == high:
        return low
    drawn = int.from_bytes(hashlib.sha256(f"fgl guidance {seed}".encode()).digest()[:8], "big") / 2**64
    return low + (high - low) * drawn
