"""Image files of every kind that a test set may hold, each written so that its class can be told from its colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

_COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


def noise(label: int, seed: int, width: int, height: int, channels: int = 3) -> Image.Image:
    """Coarse and fine noise around a colour of the class: no resampling gives what another one does."""
    draw = np.random.default_rng([seed, width, height])
    fine = draw.normal(0, 50, (height, width, 1))
    coarse = draw.normal(0, 40, (6, 6, 3))
    rows, columns = (np.arange(length) * 6 // length for length in (height, width))
    pixels = np.array(_COLOURS[label % 3]) + fine + coarse[rows][:, columns]
    pixels[: height // 3, :, label % 3] += 30
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if channels == 4:
        image.putalpha(Image.fromarray(draw.integers(0, 256, (height, width), dtype=np.uint8)))
    return image


def _sixteen(label: int, seed: int) -> Image.Image:
    values = np.asarray(noise(label, seed, 50, 40).convert("L")).astype(np.uint16)
    return Image.fromarray(values * np.uint16(200 + 20 * label))


def _turned(folder: Path, label: int, seed: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(label, seed, 60, 33).save(folder / f"turned-{seed}.jpg", exif=exif)
    return folder / f"turned-{seed}.jpg"


def _saved(name: str, make: Callable[[int, int], Image.Image]) -> Callable[[Path, int, int], Path]:
    def save(folder: Path, label: int, seed: int) -> Path:
        path = folder / name.replace(".", f"-{seed}.")
        make(label, seed).save(path)
        return path

    return save


KINDS: dict[str, Callable[[Path, int, int], Path]] = {
    "square": _saved("square.png", lambda label, seed: noise(label, seed, 32, 32)),
    "small": _saved("small.png", lambda label, seed: noise(label, seed, 9, 11)),
    "wide": _saved("wide.png", lambda label, seed: noise(label, seed, 81, 40)),
    "tall": _saved("tall.jpg", lambda label, seed: noise(label, seed, 37, 90)),
    "large": _saved("large.jpg", lambda label, seed: noise(label, seed, 1203, 701)),
    "grey": _saved("grey.png", lambda label, seed: noise(label, seed, 47, 47).convert("L")),
    "bilevel": _saved("bilevel.png", lambda label, seed: noise(label, seed, 47, 47).convert("1")),
    "palette": _saved("palette.png", lambda label, seed: noise(label, seed, 45, 52).quantize(32)),
    "rgba": _saved("rgba.png", lambda label, seed: noise(label, seed, 60, 41, channels=4)),
    "cmyk": _saved("cmyk.jpg", lambda label, seed: noise(label, seed, 40, 40).convert("CMYK")),
    "turned": _turned,
    "sixteen": _saved("sixteen.png", _sixteen),
}
"""Kind → writes an image of a class, by its seed, into a folder and returns its path."""

OWN_LOADER = frozenset({"sixteen"})
"""Kinds that Pillow, and with it transformers, cannot turn to RGB without loss: they are read with `fgl.load_image`."""
