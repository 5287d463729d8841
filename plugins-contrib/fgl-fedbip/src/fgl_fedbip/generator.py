"""A generator that starts from noisy latents: any Stable Diffusion generator of fgl, with a sampler of its own.

Shapes: b images of a batch; latents [b, channels, height, width].
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fgl
import numpy as np
import torch
from fgl import ArraySpec, ImageBatch, ModelError, SupportsDenoiser

from fgl_fedbip.strategy import LATENTS

if TYPE_CHECKING:
    from fgl import Conditioning, Denoiser, Encoder, PlanItem, Shard, UploadSchema

    from fgl_fedbip.options import SamplerOptions

_LARGEST = 1e3


class FromLatents:
    """Encoder, denoiser and decoder are those of the base generator; images start from the latents of an upload."""

    def __init__(self, options: SamplerOptions) -> None:
        self.options = options
        self._base: Any = fgl.create("generator", options.base, **options.base_options)
        if not isinstance(self._base, SupportsDenoiser):
            raise ModelError(f"generator.base: {options.base!r} has no denoiser that samplers can be built on")

    def declare(self) -> UploadSchema:
        declared: UploadSchema = self._base.declare()
        if self.options.latents is not None:
            spec = ArraySpec(LATENTS, self.options.latents, optional=True, max_abs=_LARGEST)
            declared = replace(declared, arrays=(*declared.arrays, spec))
        return replace(declared, guidance_scale=self.options.guidance_scale)

    def fingerprint(self) -> str:
        own = self.options.model_dump(mode="json", exclude={"base", "base_options", "batch_size", "latents"})
        text = json.dumps([self._base.fingerprint(), "ddim", own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def encoding(self) -> Mapping[str, object]:
        encoding: Mapping[str, object] = self._base.encoding()
        return encoding

    def rounding(self, device: str) -> Mapping[str, object]:
        return {**self._base.rounding(device), "batch_size": self.options.batch_size}

    def describe(self) -> Mapping[str, object]:
        sampler = {"sampler": "DDIM", "steps": self.options.steps, "strength": self.options.strength}
        return {**self._base.describe(), **sampler}

    def encoder(self, device: str) -> Encoder:
        encoder: Encoder = self._base.encoder(device)
        return encoder

    def denoiser(self, device: str) -> Denoiser:
        denoiser: Denoiser = self._base.denoiser(device)
        return denoiser

    def synthesizer(self, device: str) -> Sampler:
        size: Any = self.describe()["image_size"]
        return Sampler(self.denoiser(device), self._base.declare(), self.options, (int(size[0]), int(size[1])))


class Sampler:
    """DDIM (Song et al. 2020, arXiv 2010.02502) without noise in between, from a noisy latent or from noise."""

    def __init__(
        self, denoiser: Denoiser, declared: UploadSchema, options: SamplerOptions, size: tuple[int, int]
    ) -> None:
        self._denoiser, self._options, self._size = denoiser, options, size
        self._names = [spec.name for spec in declared.arrays if not spec.name.startswith("negative_")]

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        size = self._options.batch_size
        for start in range(0, len(shard.items), size):
            items = shard.items[start : start + size]
            # a short batch is filled up, since kernels round differently with the size of a batch
            padded = [*items, *[items[-1]] * (size - len(items))]
            with torch.no_grad():
                pixels = self._denoiser.pixels(self._sample(padded, conditioning))
            yield ImageBatch(pixels[: len(items)])
            progress(len(items))

    def notes(self) -> Mapping[str, object]:
        return {}

    def _sample(self, items: Sequence[PlanItem], conditioning: Conditioning) -> torch.Tensor:
        positions = [item.conditioning for item in items]
        signal = torch.as_tensor(self._denoiser.signal)
        rows = conditioning.gather(LATENTS, positions)
        last = self._denoiser.timesteps - 1
        starts = [last if row is None else max(1, round(self._options.strength * last)) for row in rows]
        latents = self._noisy(rows, starts, items, signal)
        scales = torch.tensor([self._scale(item, conditioning) for item in items], device=latents.device)
        wanted = self._arrays(conditioning, positions, "", latents.device)
        guided = bool((scales > 1).any())
        unwanted = self._arrays(conditioning, positions, "negative_", latents.device) if guided else None
        places = torch.linspace(1, 0, self._options.steps + 1)
        steps = (torch.tensor(starts)[None] * places[:, None]).round().long().to(latents.device)
        for now, then in itertools.pairwise(steps):
            clean = self._denoiser.predict(latents, now, wanted)
            if unwanted is not None:
                other = self._denoiser.predict(latents, now, unwanted)
                clean = other + scales.view(-1, 1, 1, 1) * (clean - other)
            kept, next_kept = (signal[at].view(-1, 1, 1, 1) for at in (now, then))
            noise = (latents - kept * clean) / (1 - kept.square()).sqrt()
            latents = next_kept * clean + (1 - next_kept.square()).sqrt() * noise
        result: torch.Tensor = clean
        return result

    def _noisy(
        self, rows: Sequence[Any], starts: Sequence[int], items: Sequence[PlanItem], signal: torch.Tensor
    ) -> torch.Tensor:
        """Each latent, or zero where a row has none, with the noise of its step; the noise is from the item's seed."""
        shape = self._shape() if any(row is None for row in rows) else np.asarray(rows[0]).shape
        noisy = []
        for row, step, item in zip(rows, starts, items, strict=True):
            clean = torch.zeros(shape) if row is None else torch.from_numpy(np.array(row, np.float32))
            noise = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(item.seed))
            kept = float(signal[step])
            noisy.append(kept * clean + (1 - kept**2) ** 0.5 * noise)
        return torch.stack(noisy).to(signal.device)

    def _shape(self) -> tuple[int, ...]:
        """Of the latent of one image."""
        black = np.zeros((1, *self._size, 3), np.uint8)
        return tuple(self._denoiser.latents(black).shape[1:])

    def _scale(self, item: PlanItem, conditioning: Conditioning) -> float:
        """The item's own guidance scale, else its row's, else the option's."""
        if item.guidance_scale is not None:
            return float(item.guidance_scale)
        row = float(conditioning.guidance_scale[item.conditioning])
        return self._options.guidance_scale if np.isnan(row) else row

    def _arrays(
        self, conditioning: Conditioning, positions: Sequence[int], prefix: str, device: torch.device
    ) -> dict[str, torch.Tensor]:
        arrays = {}
        for name in self._names:
            rows = conditioning.gather(prefix + name, positions)
            if any(row is None for row in rows):
                raise ModelError(f"a row without {prefix + name} cannot be guided; set generator.guidance_scale=1")
            arrays[name] = torch.from_numpy(np.stack([np.asarray(row, np.float32) for row in rows])).to(device)
        return arrays
