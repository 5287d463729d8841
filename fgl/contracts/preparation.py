"""Images of any size → what a classifier sees of them: one resampling, the same wherever an image is tested.

It is what a `CLIPImageProcessor` of transformers does on its Pillow backend, to the bit, so that a classifier which is
exported with such a processor is the one that was measured.
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
    """What becomes of a real image. All in pixels.

    resize: the shorter side becomes that long, bilinearly. crop: side of the square in the middle that is tested.
    train: side of the square that real training images become, which are varied afterwards: at least `resize`.
    """

    resize: int
    crop: int
    train: int

    def inputs(self) -> dict[str, int]:
        """For the inputs of a stage that rests on real images."""
        return asdict(self)


def square(image: Image.Image, side: int, crop: int) -> Pixels:
    """An RGB image → uint8 [side, side, 3]: its shorter side to `side` pixels, then a square whose middle `crop` pixels
    are those of the whole."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    # transformers' arithmetic: the longer side is rounded down
    size = (side, int(side * long / short)) if width <= height else (int(side * long / short), side)
    pixels = np.asarray(image if size == image.size else image.resize(size, RESAMPLING))
    # not the middle square: halves are rounded down once, as they are where `crop` is cut out at once
    top, left = ((length - crop) // 2 - (side - crop) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def cropped(pixels: Pixels, side: int, crop: int) -> Pixels:
    """uint8 [n, h, w, 3], squares of `side` or anything → uint8 [n, crop, crop, 3], what of it is tested."""
    if len(pixels) and pixels.shape[1:3] != (side, side):
        pixels = np.stack([square(Image.fromarray(image), side, crop) for image in pixels])
    start = (side - crop) // 2
    return pixels[:, start : start + crop, start : start + crop]
