"""Batches of captioned images, as latents, for adaptation.

Shapes: b images of a batch, n of the set.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.adaptation import CaptionedImages
    from fgl.contracts.arrays import Pixels
    from fgl.plugins.generators.denoiser import DiffusionDenoiser

# Pairs of a held-out image and a timestep whose losses are averaged: fewer would not tell one entry from the next.
_HELD_OUT_PAIRS = 256


LatentCache = dict[int, tuple["Pixels", list[Tensor]]]
"""id of pixels → the pixels, and their latents and those of their mirror images."""


class Batches:
    """Latents of the images and their mirror images, with a caption of each, in an order drawn for each epoch."""

    def __init__(
        self, denoiser: DiffusionDenoiser, images: CaptionedImages, size: int, mirror: bool, cache: LatentCache
    ) -> None:
        key = id(images.pixels)
        if key not in cache:
            views = [images.pixels, images.pixels[:, :, ::-1]] if mirror else [images.pixels]
            # beside the pixels: as long as they are held, nothing else has their id
            cache[key] = images.pixels, [denoiser.latents(np.ascontiguousarray(view)) for view in views]
        self._latents = cache[key][1]
        self._images, self._captions = images, _Captions(images)
        self.per_epoch = math.ceil(len(images) / size)
        """Steps of an epoch, whose batches are as even as possible."""

    def __call__(self, seed: int, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(latents [b, …], captions [b, *shape] by name, class ids [b]) of a step, from 0."""
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([seed, 1, epoch]).permutation(len(self._images))
        rows = np.array_split(order, self.per_epoch)[place]
        views = torch.randint(len(self._latents), (len(rows),), generator=rng)
        latents = torch.stack([self._latents[view][row] for view, row in zip(views.tolist(), rows, strict=True)])
        return latents, self._captions(rows, rng), torch.from_numpy(self._images.labels[rows])


class _Captions:
    """One of its captions for each image."""

    def __init__(self, images: CaptionedImages) -> None:
        self._arrays = {name: torch.from_numpy(np.asarray(array)) for name, array in images.arrays.items()}
        self._groups, self._choices = images.groups, [np.asarray(rows) for rows in images.choices]
        self._bounds = [np.cumsum(images.weights[rows]) for rows in self._choices]

    def __call__(self, rows: NDArray[np.int64], rng: torch.Generator) -> dict[str, Tensor]:
        """float32 [b, *shape] by name, of the images at `rows`, drawn by weight."""
        drawn = torch.rand(len(rows), generator=rng, dtype=torch.float64).numpy()
        chosen = [
            int(self._choices[group][np.searchsorted(self._bounds[group], share * self._bounds[group][-1], "right")])
            for group, share in zip(self._groups[rows].tolist(), drawn, strict=True)
        ]
        return {name: array[chosen] for name, array in self._arrays.items()}


class HeldOut:
    """The denoising loss of images that are not trained on: always of the same noise, timesteps and captions."""

    def __init__(self, denoiser: DiffusionDenoiser, images: CaptionedImages, size: int) -> None:
        self._denoiser = denoiser
        self._latents, self._captions = denoiser.latents(images.pixels), _Captions(images)
        rows = np.tile(np.arange(len(images)), math.ceil(_HELD_OUT_PAIRS / len(images)))
        self._parts = np.array_split(rows, math.ceil(len(rows) / size))

    @torch.no_grad()
    def __call__(self) -> float:
        self._denoiser.module.train(False)
        rng = torch.Generator().manual_seed(0)
        losses = [self._denoiser.loss(self._latents[rows], self._captions(rows, rng), rng) for rows in self._parts]
        return float(torch.cat(losses).mean())
