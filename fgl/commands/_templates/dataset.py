"""A dataset: labelled images in splits. Here squares, each class in a color of its own."""

from __future__ import annotations

import hashlib

import numpy as np
from fgl import DatasetInfo, ImageSet, Labels, Options
from PIL import Image
from pydantic import Field

CLASSES = {"red square": (200, 40, 40), "green square": (40, 200, 40), "blue square": (40, 40, 200)}
SPLITS = {"train": 0, "test": 1}


class MineOptions(Options):
    """What a user can set under `dataset:`."""

    per_class: int = Field(40, ge=1, description="Images of each class in each split.")
    side: int = Field(32, ge=8, description="Width and height of an image, in pixels.")


class Squares:
    """The images of one split, drawn when they are asked for (contract `ImageSet`)."""

    domains = None

    def __init__(self, options: MineOptions, split: str) -> None:
        self.options, self.split = options, split
        self.labels: Labels = np.repeat(np.arange(len(CLASSES), dtype=np.int64), options.per_class)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        side, color = self.options.side, list(CLASSES.values())[int(self.labels[index])]
        draw = np.random.default_rng([SPLITS[self.split], index])
        pixels = draw.integers(0, 60, (side, side, 3))
        top, left = draw.integers(0, side // 2, 2)
        pixels[top : top + side // 2, left : left + side // 2] = color
        return Image.fromarray(pixels.astype(np.uint8))

    def name(self, index: int) -> str:
        return f"{self.split}/{index:05d}"


class Mine:
    """Raise fgl.DataError where nothing can be read, and fgl.BadImageError for an image that cannot be decoded."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def info(self) -> DatasetInfo:
        # everything that determines the samples: runs are recomputed when it changes
        digest = hashlib.sha256(f"squares 1 {self.options}".encode()).hexdigest()
        return DatasetInfo("mine", tuple(CLASSES), (), digest, license="CC0-1.0")

    def split(self, name: str) -> ImageSet | None:
        return Squares(self.options, name) if name in SPLITS else None
