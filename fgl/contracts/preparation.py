"""How images of any size become a classifier's input: one resampling, the same wherever an image is tested.

It equals a `CLIPImageProcessor` of transformers on its Pillow backend, to the bit, so that a classifier exported with
such a processor is the classifier that was measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels


RESAMPLING = Image.Resampling.BILINEAR


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a real image is resized and cropped."""

    resize: int
    """Length that the shorter side is resized to, bilinearly, in pixels."""

    crop: int
    """Side of the square in the middle that is tested, in pixels."""

    train: int
    """Side of the squares that real training images become before augmentation, in pixels: at least `resize`."""

    def inputs(self) -> dict[str, int]:
        """The sizes by name, for the recorded inputs of a stage that depends on real images."""
        return asdict(self)


def square(image: Image.Image, side: int, crop: int) -> Pixels:
    """Resize the shorter side of an RGB image to `side` pixels and cut out a square: uint8 [side, side, 3].

    The middle `crop` pixels of the square are the middle `crop` pixels of the whole resized image.
    """
    width, height = image.size
    short, long = min(width, height), max(width, height)
    # transformers' arithmetic: the longer side is rounded down
    size = (side, int(side * long / short)) if width <= height else (int(side * long / short), side)
    pixels = np.asarray(image if size == image.size else image.resize(size, RESAMPLING))
    # not the middle square: halves are rounded down once, as when `crop` is cut out of the whole directly
    top, left = ((length - crop) // 2 - (side - crop) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def cropped(pixels: Pixels, side: int, crop: int) -> Pixels:
    """The part of each image that is tested: uint8 [n, h, w, 3] → uint8 [n, crop, crop, 3].

    Images that are not squares of `side` pixels go through `square` first.
    """
    if len(pixels) and pixels.shape[1:3] != (side, side):
        pixels = np.stack([square(Image.fromarray(image), side, crop) for image in pixels])
    start = (side - crop) // 2
    return pixels[:, start : start + crop, start : start + crop]
