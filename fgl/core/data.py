"""Images of any size → pixels of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.preparation import square
from fgl.contracts.product import LabelledArrays, features_of

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels, Pixels
    from fgl.contracts.dataset import ImageSet
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.product import SupportsProduct
    from fgl.contracts.progress import Progress


def decode(images: ImageSet, size: tuple[int, int], progress: Progress, label: str) -> LabelledPixels:
    """uint8 [n, height, width, 3], to stand beside synthetic images: images of another shape are cut to the middle and
    resampled (Lanczos)."""
    height, width = size

    def fitted(image: Image.Image) -> Pixels:
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
        return np.asarray(image)

    return _decoded(images, size, fitted, progress, label)


def decode_for(
    images: ImageSet, how: Preparation, progress: Progress, label: str, train: bool = False
) -> LabelledPixels:
    """uint8 [n, side, side, 3] for a classifier: to be tested, or to train on. See `Preparation`."""
    side = how.train if train else how.resize
    return _decoded(images, (side, side), lambda image: square(image, side, how.crop), progress, label)


def features_for(
    images: ImageSet, generator: SupportsProduct, device: str, progress: Progress, label: str
) -> LabelledArrays:
    """Real images as a classifier of the generator's product takes them."""
    return LabelledArrays(features_of(images, generator, device, progress, label), images.labels)


def _decoded(
    images: ImageSet, size: tuple[int, int], shape: Callable[[Image.Image], Pixels], progress: Progress, label: str
) -> LabelledPixels:
    pixels = np.empty((len(images), *size, 3), dtype=np.uint8)
    with progress.track(label, len(images)) as task:
        for index in range(len(images)):
            pixels[index] = shape(images.image(index))
            task.advance()
    return LabelledPixels(pixels, images.labels)


def halves(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """(positions, the others): every class in two, drawn by seed; of an odd class the second has one more."""
    first, second = [], []
    for class_id in np.unique(labels).tolist():
        rows = np.random.default_rng([seed, class_id, 0]).permutation(np.flatnonzero(labels == class_id))
        first.append(rows[: len(rows) // 2])
        second.append(rows[len(rows) // 2 :])
    joined = [np.sort(np.concatenate(part)) if part else np.empty(0, dtype=np.int64) for part in (first, second)]
    return joined[0], joined[1]
