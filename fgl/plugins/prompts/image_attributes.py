"""Describes images by measurements, without a captioning model.

Everything is measured on a 32x32 thumbnail, so that the words do not depend on the camera's resolution. Each number
becomes one of a few words, so that many images share a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

SIZE = 32
ATTRIBUTES = ("colours", "brightness", "texture", "layout")

# Anchor colours in sRGB. A pixel gets the name of the nearest anchor in CIELAB (CIE76 distance), where equal distances
# look about equally different. Several anchors may share a name.
_ANCHORS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("black", (12, 12, 12)), ("dark grey", (70, 70, 70)), ("grey", (128, 128, 128)), ("light grey", (190, 190, 190)),
    ("white", (248, 248, 248)), ("red", (205, 35, 40)), ("dark red", (110, 30, 35)), ("orange", (240, 140, 40)),
    ("yellow", (250, 215, 60)), ("brown", (105, 75, 50)), ("tan", (180, 150, 115)), ("beige", (222, 205, 175)),
    ("dark green", (35, 65, 40)), ("green", (70, 140, 65)), ("light green", (150, 200, 125)), ("olive", (105, 105, 60)),
    ("teal", (50, 110, 110)), ("dark blue", (30, 45, 90)), ("blue", (50, 95, 185)), ("light blue", (130, 180, 230)),
    ("slate", (85, 95, 115)), ("purple", (120, 65, 145)), ("pink", (240, 150, 175)),
)  # fmt: skip
COLOURS = tuple(name for name, _ in _ANCHORS)
BRIGHTNESS = ("very dark", "dark", "medium bright", "bright", "very bright")
TEXTURE = ("flat", "smooth", "fine textured", "coarse textured", "busy")
LAYOUT = (
    "uniform",
    "horizontal lines",
    "vertical lines",
    "diagonal lines",
    "centered object",
    "patchwork",
    "scattered",
)

VOCABULARY: dict[str, tuple[tuple[str, ...], ...]] = {
    "colours": (COLOURS, ("", *(f" and {name}" for name in COLOURS))),
    "brightness": (BRIGHTNESS,),
    "texture": (TEXTURE,),
    "layout": (LAYOUT,),
}
"""Attribute → what can stand at each place of its phrase."""

# Bin edges: mean L* (0..100), mean local gradient of L* (L* units a pixel), chosen so that the words spread over
# satellite images, clothes and emoji alike.
_BRIGHTNESS_EDGES = (22.0, 38.0, 54.0, 72.0)
_TEXTURE_EDGES = (1.0, 2.2, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Attributes:
    """The measurements of one image, as words."""

    colours: tuple[str, ...]
    """One or two of COLOURS, the more frequent first."""

    brightness: str
    """One of BRIGHTNESS."""

    texture: str
    """One of TEXTURE."""

    layout: str
    """One of LAYOUT."""


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """RGB thumbnail, uint8 [32, 32, 3]."""
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.uint8)


def measure(thumbnails: Iterable[NDArray[np.uint8]]) -> list[Attributes]:
    """Measure each uint8 [32, 32, 3] thumbnail."""
    return [_one(pixels) for pixels in thumbnails]


def phrase(attributes: Attributes, which: Sequence[str] = ATTRIBUTES) -> list[str]:
    """One phrase for each attribute in `which`, in that order: ["dark green and slate", "dark", "smooth", "uniform"].

    Prompts join them with ", ". Raises KeyError for a name that is not in ATTRIBUTES.
    """
    words = {
        "colours": " and ".join(attributes.colours),
        "brightness": attributes.brightness,
        "texture": attributes.texture,
        "layout": attributes.layout,
    }
    return [words[name] for name in which]


def _one(pixels: NDArray[np.uint8]) -> Attributes:
    lab = rgb2lab(pixels)
    lightness = lab[..., 0]
    rows, columns = np.gradient(lightness)
    texture = float(np.hypot(rows, columns).mean())
    figure = _figure(lab)
    return Attributes(
        _colours(lab if figure is None else lab[figure]),
        BRIGHTNESS[int(np.digitize((lightness if figure is None else lightness[figure]).mean(), _BRIGHTNESS_EDGES))],
        TEXTURE[int(np.digitize(texture, _TEXTURE_EDGES))],
        _layout(lightness, rows, columns, texture, figure is not None),
    )


def _figure(lab: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Mask of an object on a plain background, whose colour is irrelevant; None if the background is not plain."""
    border = np.concatenate([lab[:2].reshape(-1, 3), lab[-2:].reshape(-1, 3), lab[:, 0], lab[:, -1]])
    ground = np.median(border, axis=0)
    if (np.linalg.norm(border - ground, axis=1) < 8).mean() < 0.7:
        return None
    mask: NDArray[np.bool_] = np.linalg.norm(lab - ground, axis=2) > 12
    return mask if mask.mean() > 0.05 else None


_ANCHOR_LAB = rgb2lab(np.array([[rgb for _, rgb in _ANCHORS]], dtype=np.uint8))[0]


def _colours(lab: NDArray[np.float64]) -> tuple[str, ...]:
    flat = lab.reshape(-1, 3)
    nearest = ((flat[:, None] - _ANCHOR_LAB) ** 2).sum(-1).argmin(1)
    counts = np.bincount(nearest, minlength=len(_ANCHORS))
    first, second = np.argsort(-counts, kind="stable")[:2]
    # A second colour is worth a word when it covers at least a fifth of the image.
    return (COLOURS[first], COLOURS[second]) if counts[second] * 5 >= len(flat) else (COLOURS[first],)


def _layout(
    lightness: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    texture: float,
    has_figure: bool,
) -> str:
    if texture < _TEXTURE_EDGES[0]:
        return "uniform"
    # Coherence of the whole image's structure tensor: 1 where all gradients share one direction, 0 where none prevails.
    rr, rc, cc = float((rows * rows).mean()), float((rows * columns).mean()), float((columns * columns).mean())
    coherence = float(np.hypot(cc - rr, 2 * rc)) / (rr + cc)
    if coherence > 0.35:
        # The lines run across the direction of the gradient.
        angle = float(np.degrees(0.5 * np.arctan2(2 * rc, cc - rr))) % 180
        if angle < 22.5 or angle >= 157.5:
            return "vertical lines"
        return "horizontal lines" if 67.5 <= angle < 112.5 else "diagonal lines"
    if has_figure:
        return "centered object"
    # Large patches of different lightness against detail spread evenly: compare block means with detail within blocks.
    blocks = lightness.reshape(4, 8, 4, 8)
    between, within = blocks.mean((1, 3)).std(), blocks.std((1, 3)).mean()
    return "patchwork" if between > within else "scattered"


__all__ = [
    "ATTRIBUTES",
    "BRIGHTNESS",
    "COLOURS",
    "LAYOUT",
    "TEXTURE",
    "VOCABULARY",
    "Attributes",
    "measure",
    "phrase",
    "thumbnail",
]
