"""Where an image begins that is a variation of another one: that one, encoded and noised.

As in the image-to-image pipelines of diffusers (SDEdit, Meng et al. 2022, arXiv 2108.01073), bit for bit in float32.
Shapes: b images of a batch, c latent channels, h height, w width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.generator import PlanItem


@dataclass(frozen=True, slots=True)
class ImageStart:
    """What images begin from."""

    original: Callable[[PlanItem], Pixels]
    """uint8 [h, w, 3]: the image that an item varies; resized where it is of another size than what is denoised."""

    strength: float
    """Share of the steps that are denoised, above 0 and at most 1: the more, the less is left of the original."""

    def timesteps(self, scheduler: Any, steps: int) -> Any:
        """The last steps of the scheduler's, at least one."""
        kept = min(max(int(steps * self.strength), 1), steps)
        first = (steps - kept) * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        return scheduler.timesteps[first:]

    def pixels(self, items: Sequence[PlanItem], size: tuple[int, int]) -> Tensor:
        """float32 [b, 3, h, w] from -1 to 1."""
        images = np.stack([_resized(self.original(item), size) for item in items])
        return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255.0 * 2.0 - 1.0


def encoded(vae: Any, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """The latents of images, as the autoencoder has them: float32 [b, c, …]. One at a time, as the pipelines do, so
    that an image does not depend on what is beside it."""
    return torch.cat([_latent(vae.encode(image[None]), rng) for image, rng in zip(images, generators, strict=True)])


def _latent(found: Any, rng: torch.Generator) -> Tensor:
    # an AutoencoderKL yields a distribution, an AutoencoderTiny latents
    if not hasattr(found, "latent_dist"):
        latent: Tensor = found.latents
        return latent.float()
    mean, spread = found.latent_dist.mean.float(), found.latent_dist.std.float()
    drawn: Tensor = mean + spread * randn_tensor(mean.shape, generator=rng, device=mean.device, dtype=torch.float32)
    return drawn


def noised(scheduler: Any, latents: Tensor, timestep: Any, generators: list[torch.Generator]) -> Tensor:
    """Scaled latents with the noise of a timestep, drawn for each image from its own generator: float32 [b, c, …]."""
    noise = randn_tensor(latents.shape, generator=generators, device=latents.device, dtype=torch.float32)
    begun: Tensor = scheduler.add_noise(latents, noise, timestep.repeat(len(latents)))
    return begun


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
