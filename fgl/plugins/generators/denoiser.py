"""The denoiser for what learns from images: their latents, and the loss that the denoiser was trained with.

Shapes: b images of a batch, s tokens, d width, p pooled width, c latent channels, h height and w width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import Tensor

from fgl.errors import ModelError
from fgl.plugins.generators.micro_conditions import time_ids
from fgl.plugins.generators.pipeline_parts import STABLE_DIFFUSION_XL

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.plugins.generators.pipeline_parts import Layout

# An encoder of images holds a hundred channels at full resolution.
_ENCODED_PIXELS = 8 * 512 * 512
# Up to this size of a latent, plain matrix products are faster on a CPU than fused attention, above all backwards.
_PLAIN_CELLS = 16 * 16


class DiffusionDenoiser:
    """Denoiser and autoencoder of a Stable Diffusion pipeline (contract `Denoiser`).

    The loss is the mean squared error of what the denoiser predicts: the noise (Ho et al. 2020, arXiv 2006.11239), the
    velocity (Salimans and Ho 2022, arXiv 2202.00512), or the image itself, as the model's scheduler says. Weights and
    latents are float32; below that, the denoiser computes under autocast.

    Args:
        pipeline: The pipeline, with unet, vae and scheduler in float32. The scheduler is a DDPMScheduler with the
            model's noise schedule, whatever solver the model is sampled with.
        layout: The pipeline's layout.
        device: Where to compute.
        dtype: Number format of the denoiser's computations.
        size: (height, width) of what is denoised, in pixels.
        kept: (height, width) of the generator's images, at most `size`.
        micro: Sizes and crop that the denoiser receives, for layouts that have them.
        scale: The guidance scale that a distilled denoiser takes as an input.
    """

    def __init__(
        self,
        pipeline: Any,
        layout: Layout,
        device: torch.device,
        dtype: torch.dtype,
        size: tuple[int, int],
        kept: tuple[int, int],
        micro: Mapping[str, Any],
        scale: float,
    ) -> None:
        self._pipeline, self._xl, self._device, self._dtype = pipeline, layout is STABLE_DIFFUSION_XL, device, dtype
        self._size, self._kept, self._micro, self._scale = size, kept, micro, scale
        self._schedule: Any = pipeline.scheduler
        self._vae: Any = pipeline.vae.to(device)
        self.module: Any = pipeline.unet.to(device)
        if device.type == "cpu" and self._cells() <= _PLAIN_CELLS:
            self.module.set_attn_processor(AttnProcessor())
        self.timesteps = int(self._schedule.config.num_train_timesteps)

    def latents(self, pixels: Pixels) -> Tensor:
        """float32 [b, c, …] of images, uint8 [b, h, w, 3]: the most likely latent, scaled as the denoiser takes it.

        Images of the size that is kept (`save_size`) are enlarged to the size that is denoised. Raises ModelError if
        they have another size.
        """
        if tuple(pixels.shape[1:]) not in {(*self._size, 3), (*self._kept, 3)}:
            height, width = self._kept
            raise ModelError(f"the denoiser got images of {list(pixels.shape[1:])}; expected [{height}, {width}, 3]")
        pixels = _resized(pixels, self._size)
        at_once = max(1, _ENCODED_PIXELS // (self._size[0] * self._size[1]))
        parts = []
        with torch.no_grad():
            for start in range(0, len(pixels), at_once):
                part = torch.from_numpy(pixels[start : start + at_once]).to(self._device)
                encoded = self._vae.encode(part.permute(0, 3, 1, 2).float() / 127.5 - 1)
                # an AutoencoderKL yields a distribution, an AutoencoderTiny latents
                parts.append(encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents)
        if not parts:
            raise ModelError("the denoiser got no images; expected at least one")
        return self._scaled(torch.cat(parts).float())

    def loss(
        self, latents: Tensor, arrays: Mapping[str, Tensor], rng: torch.Generator, timesteps: Tensor | None = None
    ) -> Tensor:
        """float32 [b]; see the contract. Timesteps are drawn before the noise, one from each of b equal parts of the
        schedule, in random order.

        arrays: prompt_embeds [b, s, d], with two text encoders also pooled_prompt_embeds [b, p].
        Raises ModelError if an array is missing, or if the scheduler predicts something else than the three targets.
        """
        count = len(latents)
        if timesteps is None:
            offsets = torch.rand(count, generator=rng)
            place = torch.randperm(count, generator=rng)
            timesteps = ((place + offsets) / count * self.timesteps).long().clamp_(max=self.timesteps - 1)
        steps = timesteps.to(self._device)
        noise = torch.randn(latents.shape, generator=rng).to(self._device)
        noisy = self._schedule.add_noise(latents, noise, steps)
        error = self._guess(noisy, steps, arrays) - self._target(latents, noise, steps)
        return error.square().flatten(1).mean(1)

    @property
    def signal(self) -> Tensor:
        """Square root of the schedule's cumulative product of alphas, float32 [t]."""
        alphas: Tensor = self._schedule.alphas_cumprod
        return alphas.to(self._device).sqrt()

    def predict(self, noisy: Tensor, timesteps: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
        """float32 [b, c, …]; see the contract. Raises ModelError as `loss` does."""
        steps = timesteps.to(self._device)
        guess = self._guess(noisy, steps, arrays)
        kept = self.signal[steps].view(-1, *([1] * (noisy.ndim - 1)))
        spread = (1 - kept.square()).sqrt()
        kind = self._kind()
        if kind == "epsilon":
            return (noisy - spread * guess) / kept
        return kept * noisy - spread * guess if kind == "v_prediction" else guess

    def pixels(self, latents: Tensor) -> Pixels:
        """uint8 [b, h, w, 3]; see the contract."""
        at_once = max(1, _ENCODED_PIXELS // (self._size[0] * self._size[1]))
        parts = []
        with torch.no_grad():
            for part in torch.split(self._unscaled(latents.to(self._device)), at_once):
                image = self._vae.decode(part, return_dict=False)[0].float()
                image = (image * 0.5 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
                parts.append(image.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        return _resized(np.concatenate(parts), self._kept)

    def _guess(self, noisy: Tensor, steps: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
        """What the denoiser predicts: the noise, the velocity or the image."""
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            guess: Tensor = self.module(
                noisy,
                steps,
                encoder_hidden_states=self._array(arrays, "prompt_embeds"),
                timestep_cond=self._distilled(len(noisy)),
                added_cond_kwargs=self._added(arrays, len(noisy)),
                return_dict=False,
            )[0]
        return guess.float()

    def parameters(self) -> int:
        """Number of weights of denoiser and autoencoder."""
        return sum(weight.numel() for part in (self.module, self._vae) for weight in part.parameters())

    def size_bytes(self) -> int:
        """Bytes of these weights as loaded."""
        return sum(
            weight.numel() * weight.element_size() for part in (self.module, self._vae) for weight in part.parameters()
        )

    def _cells(self) -> int:
        """Places of a latent: the tokens of its largest self-attention, at most."""
        scale = int(self._pipeline.vae_scale_factor)
        return (self._size[0] // scale) * (self._size[1] // scale)

    def _target(self, latents: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        kind = self._kind()
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            velocity: Tensor = self._schedule.get_velocity(latents, noise, steps)
            return velocity
        return latents

    def _kind(self) -> str:
        kind = str(self._schedule.config.prediction_type)
        if kind not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(f"the model's prediction_type is {kind!r}; expected epsilon, v_prediction or sample")
        return kind

    def _array(self, arrays: Mapping[str, Tensor], name: str) -> Tensor:
        if name not in arrays:
            raise ModelError(f"the denoiser got no {name}; expected an array for each image")
        return arrays[name].to(self._device)

    def _added(self, arrays: Mapping[str, Tensor], count: int) -> dict[str, Tensor] | None:
        if not self._xl:
            return None
        pooled = self._array(arrays, "pooled_prompt_embeds")
        return {"text_embeds": pooled, "time_ids": time_ids(self._micro, self._size, count).to(self._device)}

    def _distilled(self, count: int) -> Tensor | None:
        """The guidance scale as an input, [b, …], for a denoiser that was distilled to take it."""
        width = self.module.config.time_cond_proj_dim
        if width is None:
            return None
        offset = torch.full((count,), self._scale - 1)
        embedding: Tensor = self._pipeline.get_guidance_scale_embedding(offset, embedding_dim=width)
        return embedding.to(self._device)

    def _scaled(self, latents: Tensor) -> Tensor:
        """The denoiser's input from the encoder's output: what the synthesizer undoes before it decodes."""
        scale, shift, spread = self._scaling()
        return (latents - shift) * scale / spread

    def _unscaled(self, latents: Tensor) -> Tensor:
        """The decoder's input from the denoiser's output."""
        scale, shift, spread = self._scaling()
        return latents / scale * spread + shift

    def _scaling(self) -> tuple[float, Tensor, Tensor]:
        """Scale, shift and spread of latents; most models have the first alone."""
        config = self._vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if not self._xl or mean is None or std is None:
            mean, std = [0.0], [1.0]
        shift, spread = (torch.tensor(values, device=self._device).view(1, -1, 1, 1) for values in (mean, std))
        return float(config.scaling_factor), shift, spread


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.shape[1:3] == size or not len(pixels):
        return pixels
    images = (Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS) for image in pixels)
    return np.stack([np.asarray(image) for image in images])
