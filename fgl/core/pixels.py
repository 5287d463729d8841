"""Images of any size → pixels of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from fgl.core.types import LabelledPixels

if TYPE_CHECKING:
    from fgl.core.types import ImageSet, Progress


def decode(images: ImageSet, size: tuple[int, int], progress: Progress, label: str) -> LabelledPixels:
    """uint8 [n, height, width, 3]: images of another shape are cut to the middle and resampled (Lanczos)."""
    height, width = size
    pixels = np.empty((len(images), height, width, 3), dtype=np.uint8)
    with progress.track(label, len(images)) as task:
        for index in range(len(images)):
            image = images.image(index)
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
            pixels[index] = np.asarray(image)
            task.advance()
    return LabelledPixels(pixels, images.labels)
