"""Decodes an image of any supported format to RGB: the only place where bytes become pixels."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fgl.errors import BadImageError
from fgl.io.files import read_bytes
from fgl.plugins.datasets import kinds

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its colour type
# Adam7: (first column, first row, columns apart, rows apart) of each pass
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20
_BITS_PER_SAMPLE = 258  # TIFF


@dataclass(frozen=True, slots=True)
class Traits:
    """What decoding an image hides."""

    sixteen: bool = False
    """Whether it has 16 bits per channel."""

    peak: int = 255
    """Its brightest value after decoding, 0 to 255."""

    stretched: bool = False
    """Whether it was stretched to the range of its own values."""

    several: bool = False
    """Whether it has several frames, of which the first is used."""


def decode(data: bytes, name: str) -> Image.Image:
    """Decode to mode RGB: first frame, rotated as its EXIF says, without transparency, 16 bits scaled to 8.

    Raises BadImageError, which names the image `name`.
    """
    return examine(data, name)[0]


def examine(data: bytes, name: str) -> tuple[Image.Image, Traits]:
    """As `decode`, together with what it hides."""
    if not data:
        raise BadImageError(_message(name, "it is empty"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "PNG" and _is_short(data):
                raise BadImageError(_message(name, "it is truncated: it holds fewer pixels than it states"))
            image.load()
            sixteen = _is_sixteen(image, data)
            # MPO: a photograph with a smaller copy of itself, as many cameras write
            several = image.format != "MPO" and bool(getattr(image, "is_animated", False))
            stretched = not sixteen and (image.mode == "I" or (image.mode == "F" and not _in_unit_range(image)))
            rgb = _rgb(_upright(image), sixteen)
    except BadImageError:
        raise
    except Exception as error:  # a broken file makes Pillow raise almost anything: SyntaxError, struct.error, ...
        raise BadImageError(_message(name, _reason(data, error))) from error
    peak = max(high for _, high in rgb.getextrema()) if sixteen else 255  # type: ignore[misc]
    return rgb, Traits(sixteen, int(peak), stretched, several)


def _reason(data: bytes, error: Exception) -> str:
    if "cannot identify" not in str(error):
        return str(error) or "no reason given"
    kind = kinds.by_content(data[: kinds.HEAD])
    if kind is None:
        return "not an image that Pillow knows"
    return f"it is damaged {kind}" if kind in kinds.READ else f"it is {kind}: {kinds.advice(kind)}"


def load_image(path: str | Path) -> Image.Image:
    """Load an image file as fgl does, as RGB, for `pipeline("image-classification", "RUN/classifier")`.

    Only images of more than 8 bits need this: Pillow, and therefore transformers, would clip their values at 255.
    Raises BadImageError.
    """
    try:
        data = read_bytes(Path(path))
    except OSError as error:
        raise BadImageError(_message(str(path), error.strerror or str(error))) from error
    return decode(data, str(path))


def _message(name: str, reason: str) -> str:
    return (
        f"cannot read the image {name}: {reason}; replace or remove it, or set skip_bad_images to leave such images out"
    )


def _is_short(data: bytes) -> bool:
    """Whether a PNG's pixels end before the last row. Pillow fills missing rows with black, however many."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits = _CHANNELS.get(kind, 1) * depth
    needed = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + (columns * bits + 7) // 8)
    inflate, place = zlib.decompressobj(), 8
    try:
        while needed > 0 and place + 8 <= len(data) and not inflate.eof:
            length, chunk = struct.unpack(">I4s", data[place : place + 8])
            part = data[place + 8 : place + 8 + length] if chunk == b"IDAT" else b""
            while part and needed > 0:
                needed -= len(inflate.decompress(part, _PIECE))
                part = inflate.unconsumed_tail
            place += length + 12
    except zlib.error:
        return False  # Pillow reports what is wrong
    return needed > 0


def _is_sixteen(image: Image.Image, data: bytes) -> bool:
    """Whether an image has 16 bits per channel, which Pillow loads in a mode of 32 bits, or silently as 8."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return image.format == "PPM" and image.mode == "I"


def _in_unit_range(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool(values.min() >= 0 and values.max() <= 1)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels have been decoded: damaged EXIF data alone does not make an image unreadable
        return image


def _rgb(image: Image.Image, sixteen: bool) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode, sixteen)).convert("RGB")
    # The colour of transparent pixels shows, as when transformers loads a file: so the exported classifier sees the
    # same images as the classifier that was tested.
    return image.convert("RGB")


def _eight_bits(values: NDArray[Any], mode: str, sixteen: bool) -> NDArray[np.uint8]:
    """Scale [h, w] of 16 or 32 bits to uint8 [h, w].

    16 bits keep their upper 8, floats in 0..1 fill the range, and anything else is stretched from its own minimum to
    its own maximum, since its range is not known.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it has pixels that are not finite")
    if sixteen and low >= 0 and high <= 65535:
        return (values.astype(np.uint32) >> 8).astype(np.uint8)
    if mode != "F" or low < 0 or high > 1:
        values = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(values * 255.0).astype(np.uint8)
