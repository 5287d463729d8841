"""Batches of images on the device: one resampling pass for crop, flip and turn, then normalization.

Shapes: n images, h height, w width. Images are float32 [n, 3, h, w] on a scale of 0 to 1 until normalized.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from fgl.contracts.preparation import Preparation, cropped
from fgl.plugins.classifiers.options import AugmentationOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels


# Luma of ITU-R BT.601, as Pillow's conversion to grey has it.
_LUMA = (0.299, 0.587, 0.114)


class Augmenter:
    """Augments training images and prepares test images.

    The random decisions are drawn on the CPU and therefore the same on every device; noise is drawn on the device.

    Args:
        options: What to do.
        size: Side of the result, in pixels.
        device: Where the images are.
        seed: Determines all augmentation.
        eval_resize: See `ClassifierOptions`. None: `size`.
    """

    def __init__(
        self, options: AugmentationOptions, size: int, device: torch.device, seed: int, eval_resize: int | None = None
    ) -> None:
        self.options, self.size, self.device, self.eval_resize = options, size, device, eval_resize or size
        self._draws = Generator()
        self._noise = Generator(device)
        self.reseed(seed)
        self._mean = torch.tensor(options.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(options.std, device=device).view(1, 3, 1, 1)
        self._luma = torch.tensor(_LUMA, device=device).view(1, 3, 1, 1)
        self._working = working_side(options, size)
        self._table = torch.from_numpy(normalized(options)).to(device)

    def reseed(self, seed: int) -> None:
        """Restart the random draws."""
        self._draws.manual_seed(seed)
        self._noise.manual_seed(seed)

    def train(self, pixels: Tensor) -> Tensor:
        """Augment and normalize: uint8 [n, h, w, 3] on the device → float32 [n, 3, size, size].

        The middle square is taken of images that are not square, as in `evaluate`.
        """
        short = min(pixels.shape[1:3])
        top, left = ((side - short) // 2 for side in pixels.shape[1:3])
        images = to_float(pixels[:, top : top + short, left : left + short])
        if min(images.shape[2:]) > self._working:
            images = resize_shorter(images, self._working)
        images = self._blurred(self._colored(images))
        if self.options.noise:
            deviation = self._uniform(len(images), 0, self.options.noise)
            noise = torch.empty_like(images).normal_(generator=self._noise)
            images = images + deviation * noise
        images = warp(images, self.draw(len(images)).to(self.device), self.size)
        return self._cut((images - self._mean) / self._std)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Prepare images for `evaluate`: uint8 [n, h, w, 3] → uint8 [n, size, size, 3]; see
        `fgl.contracts.preparation`."""
        return cropped(pixels, self.eval_resize, self.size)

    def evaluate(self, pixels: Tensor) -> Tensor:
        """Normalize: uint8 [n, size, size, 3] on the device → float32 [n, 3, size, size].

        The result equals that of the exported image processor for the same pixels, to the bit.
        """
        # Normalized values are looked up, because a GPU may round a division differently.
        return torch.stack([self._table[channel][pixels[..., channel].int()] for channel in range(3)], dim=1)

    def draw(self, count: int) -> Tensor:
        """Random crops, flips and turns as float32 [count, 2, 3] on the CPU, each for `warp`."""
        options = self.options
        low, high = (math.log(side) for side in options.crop_ratio)
        area = self._uniform(count, *options.crop_scale, on_cpu=True).flatten()
        ratio = self._uniform(count, low, high, on_cpu=True).flatten().exp()
        across, down = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        # Always drawn, so that turning one augmentation off leaves the others unchanged.
        offset = torch.rand(count, 2, generator=self._draws) * 2 - 1
        mirrored = torch.rand(count, generator=self._draws) < 0.5
        turns = torch.randint(4, (count,), generator=self._draws)
        if not options.flip:
            mirrored.zero_()
        if not options.quarter_turns:
            turns.zero_()
        return crop_matrix(across, down, offset[:, 0] * (1 - across), offset[:, 1] * (1 - down), mirrored, turns)

    def _uniform(self, count: int, low: float, high: float, on_cpu: bool = False) -> Tensor:
        drawn = low + (high - low) * torch.rand(count, 1, 1, 1, generator=self._draws)
        return drawn if on_cpu else drawn.to(self.device)

    def _colored(self, images: Tensor) -> Tensor:
        options, count = self.options, len(images)
        if options.saturation:
            grey = (images * self._luma).sum(1, keepdim=True)
            images = torch.lerp(grey, images, self._uniform(count, 1 - options.saturation, 1 + options.saturation))
        if options.brightness or options.contrast:
            gain = self._uniform(count, 1 - options.brightness, 1 + options.brightness)
            contrast = self._uniform(count, 1 - options.contrast, 1 + options.contrast)
            # gain first, then contrast about the mean of the result: one multiply and one add
            middle = images.mean((1, 2, 3), keepdim=True) * gain
            images = torch.addcmul((1 - contrast) * middle, images, gain * contrast)
        return images

    def _blurred(self, images: Tensor) -> Tensor:
        """Mix each image with a blurred copy. One kernel per batch is many times cheaper than one per image."""
        if not self.options.blur:
            return images
        share = (self._uniform(len(images), -1, 1)).clamp(min=0)
        return torch.lerp(images, gaussian_blur(images, self.options.blur), share)

    def _cut(self, images: Tensor) -> Tensor:
        if not self.options.cutout:
            return images
        half = self.options.cutout / 2
        centre = torch.rand(2, len(images), 1, generator=self._draws).to(self.device)
        place = (torch.arange(self.size, device=self.device) + 0.5) / self.size
        inside = (place - centre).abs() < half
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return images.masked_fill(hole, 0.0)


def preparation(options: AugmentationOptions, size: int, eval_resize: int | None, made: tuple[int, int]) -> Preparation:
    """How real images are prepared.

    They are trained on at the resolution of synthetic ones, `made` (height, width), as far as training makes use of it,
    and never at a lower resolution than they are tested at.

    Args:
        options: Augmentation.
        size: Side of the network's input, in pixels.
        eval_resize: See `ClassifierOptions`. None: `size`.
        made: (height, width) of synthetic images, in pixels.
    """
    side = eval_resize or size
    return Preparation(side, size, max(side, min(*made, working_side(options, size))))


def working_side(options: AugmentationOptions, size: int) -> int:
    """The side, in pixels, at which a typical crop is sampled at about one pixel per pixel.

    Larger images are shrunk to it with a proper filter first, because sparse sampling would alias.
    """
    return math.ceil(size / math.sqrt(sum(options.crop_scale) / 2))


def normalized(options: AugmentationOptions) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The normalized value of each pixel value: float32 [3, 256]. The arithmetic is that of transformers' rescale and
    normalize, in their order and precision."""
    scaled = (np.arange(256, dtype=np.uint8).astype(np.float64) * (1 / 255)).astype(np.float32)
    mean, std = (np.array(values, dtype=np.float32) for values in (options.mean, options.std))
    return (scaled - mean[:, None]) / std[:, None]


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] → float32 [n, 3, h, w] in 0..1, still stored pixel by pixel in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly, with an anti-aliasing filter when shrinking, as Pillow's BILINEAR does."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def resize_shorter(images: Tensor, side: int) -> Tensor:
    """Resize so that the shorter side is `side` pixels, keeping the ratio."""
    height, width = images.shape[2:]
    short = min(height, width)
    return resize(images, (max(side, height * side // short), max(side, width * side // short)))


def crop_matrix(across: Tensor, down: Tensor, x: Tensor, y: Tensor, mirrored: Tensor, turns: Tensor) -> Tensor:
    """Affine maps from places in the result to places in the source, as float32 [n, 2, 3], coordinates in -1..1.

    All arguments are [n].

    Args:
        across: Width of the crop relative to the image's.
        down: Its height relative to the image's.
        x: Its centre, horizontally.
        y: Its centre, vertically.
        mirrored: bool: whether left and right of the result are swapped.
        turns: int64: the crop is rotated counterclockwise by 90 degrees this many times, and then mirrored.
    """
    quarter = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]])
    rotation = torch.stack([quarter[0], quarter[1], -quarter[0], -quarter[1]])[turns]
    signs = torch.stack([torch.where(mirrored, -1.0, 1.0), torch.ones(len(mirrored))], dim=1)
    linear = torch.stack([across, down], dim=1)[:, :, None] * rotation * signs[:, None, :]
    return torch.cat([linear, torch.stack([x, y], dim=1)[:, :, None]], dim=2)


def warp(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Sample [n, 3, h, w] bilinearly where `matrices` [n, 2, 3] point → [n, 3, size, size]."""
    grid = F.affine_grid(matrices, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def gaussian_blur(images: Tensor, deviation: float) -> Tensor:
    """Blur [n, c, h, w] with a Gaussian of standard deviation `deviation` pixels, edges repeated."""
    reach = min(max(1, math.ceil(2 * deviation)), *(side - 1 for side in images.shape[2:]))
    place = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-place.square() / (2 * deviation * deviation))
    weights = [float(weight) for weight in kernel / kernel.sum()]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    height, width = images.shape[2:]
    # A sum of shifted copies: depthwise convolutions with three channels are slower than this on a CPU.
    rows = sum(weight * padded[:, :, k : k + height] for k, weight in enumerate(weights))
    assert isinstance(rows, Tensor)
    blurred = sum(weight * rows[:, :, :, k : k + width] for k, weight in enumerate(weights))
    assert isinstance(blurred, Tensor)
    return blurred
