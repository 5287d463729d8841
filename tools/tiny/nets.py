"""The autoencoder, the networks that judge it, and their losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn


def autoencoder(width: int, latent_channels: int) -> AutoencoderTiny:
    """TAESD's architecture, 4x down: [n, 3, 32, 32] in -1..1 <-> [n, latent_channels, 8, 8] of about unit variance."""
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 3,
        decoder_block_out_channels=(width,) * 3,
        num_encoder_blocks=(1, 2, 2),
        num_decoder_blocks=(3, 2, 1),
        latent_channels=latent_channels,
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
    )


class Judge(nn.Module):
    """A small residual classifier whose features serve as perceptual loss. Trained on the public half only."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.stages = nn.ModuleList()
        previous = width
        for index, wide in enumerate(widths):
            stride = 1 if index == 0 else 2
            self.stages.append(nn.ModuleList([Residual(previous, wide, stride), Residual(wide, wide, 1)]))
            previous = wide
        self.head = nn.Linear(previous, classes)

    def features(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        found = []
        for first, second in self.stages:
            x = second(first(x))
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1].mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(into), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(into, out, 1, stride, bias=False) if into != out or stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(x))
        return self.skip(hidden) + self.conv2(F.relu(self.norm2(self.conv1(hidden))))


class Discriminator(nn.Module):
    """Patch discriminator with a receptive field of about 20 pixels: it judges texture, not layout."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(2 * width, 4 * width, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def gradient_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 between horizontal and vertical differences: blur costs as much as a wrong colour."""
    across = (a.diff(dim=3) - b.diff(dim=3)).abs().mean()
    return across + (a.diff(dim=2) - b.diff(dim=2)).abs().mean()


def perceptual_loss(judge: Judge, a: Tensor, b: Tensor) -> Tensor:
    """Distance of unit-length features at each stage, as in LPIPS (Zhang et al. 2018) without its learned weights."""
    total = a.new_zeros(())
    with torch.no_grad():
        wanted = judge.features(b)
    for got, want in zip(judge.features(a), wanted, strict=True):
        total = total + (F.normalize(got.float(), dim=1) - F.normalize(want.float(), dim=1)).square().sum(1).mean()
    return total
