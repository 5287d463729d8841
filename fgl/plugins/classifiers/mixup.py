"""Training on mixtures of two images: mixup (Zhang et al. 2018, arXiv 1710.09412) and cutmix (Yun et al. 2019, arXiv
1905.04899)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Mixer:
    """Mixes each image of a batch with another image of it, with one share for the whole batch.

    mixup, cutmix: parameter of the Beta distribution of the share; 0: off. With both, each batch uses one of them with
    equal probability. seed: determines all draws, which are made on the CPU.
    """

    def __init__(self, mixup: float, cutmix: float, seed: int) -> None:
        self._alphas = [(kind, alpha) for kind, alpha in ((blend, mixup), (paste, cutmix)) if alpha > 0]
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Restart the random draws."""
        self._rng = np.random.default_rng([seed, 0x6D6978])  # independent of the order of the images

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None, float]:
        """Mix float [n, 3, h, w].

        Returns: The mixed images, the positions of their partners (int64 [n]), and the share of the loss for their own
            labels; if nothing is mixed: the images, None and 1.
        """
        if not self._alphas:
            return images, None, 1.0
        kind, alpha = self._alphas[int(self._rng.integers(len(self._alphas)))]
        share = float(self._rng.beta(alpha, alpha))
        partners = torch.from_numpy(self._rng.permutation(len(images))).to(images.device)
        mixed, share = kind(images, images[partners], share, self._rng)
        return mixed, partners, share


def blend(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Blend `share` of each image with the rest of the other."""
    return torch.lerp(others, images, share), share


def paste(images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a rectangle of the other image, with the image's proportions and 1 - share of its area, clipped at the
    edges. Also returns the share of the image that is left."""
    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    middle = rng.random(2) * (height, width)
    half = side * height / 2, side * width / 2
    top, left = (max(0, round(middle[axis] - half[axis])) for axis in (0, 1))
    bottom, right = (min(length, round(middle[axis] + half[axis])) for axis, length in ((0, height), (1, width)))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
