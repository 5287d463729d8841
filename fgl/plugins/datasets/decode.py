"""One encoded image to RGB, whatever its format: the only place where bytes become pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fgl.core.errors import BadImageError

WHITE = (255, 255, 255, 255)


def decode(data: bytes, name: str) -> Image.Image:
    """Decode to mode RGB: first frame, turned as its EXIF says, transparency on white, 16 bits scaled to 8.

    Raises BadImageError, which calls the image `name`."""
    if not data:
        raise BadImageError(_message(name, "it is empty"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _rgb(_upright(image))
    except Exception as error:  # a broken file makes Pillow raise almost anything: SyntaxError, struct.error, ...
        reason = "not an image that Pillow knows" if "cannot identify" in str(error) else str(error)
        raise BadImageError(_message(name, reason)) from error


def _message(name: str, reason: str) -> str:
    return (
        f"cannot read the image {name}: {reason or 'no reason given'}; "
        "replace or remove it, or set skip_bad_images to leave such images out"
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels have been decoded: damaged EXIF data alone does not make an image unreadable
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        # convert("RGB") would show whatever colour lies hidden under transparent pixels.
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """[h, w] of 16 or 32 bits to uint8 [h, w]. 16 bits keep their top 8, floats in 0..1 fill the range, anything else
    is stretched from its own minimum to its own maximum, since its range is not known."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it has pixels that are not finite")
    if mode != "F" and low >= 0 and high <= 65535:
        return (values.astype(np.uint32) >> 8).astype(np.uint8)
    if mode != "F" or low < 0 or high > 1:
        values = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(values * 255.0).astype(np.uint8)
