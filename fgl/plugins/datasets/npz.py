"""A dataset in one .npz file of arrays: the form in which MedMNIST is published."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgl.core.errors import DataError
from fgl.plugins.datasets.images import LazyImages
from fgl.plugins.datasets.labels import Listed, resolve
from fgl.plugins.datasets.loaded import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.options import NpzOptions
from fgl.plugins.datasets.paths import existing

TEST = ("test", "val")  # the first that is there is used


class Npz(LoadedOnce):
    """`train_images` uint8 [n, h, w] or [n, h, w, 3], `train_labels` whole numbers [n] or [n, 1]; test likewise.

    Images are held in memory. Classes are numbers until `class_names` or `labels` says what they are called."""

    def __init__(self, options: NpzOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        path = existing(options.path, "the .npz file")
        arrays = _read(path)
        splits = {"train": "train"}
        test = next((name for name in TEST if f"{name}_images" in arrays), None)
        if test is not None:
            splits["test"] = test
        images = {split: _images(arrays, name, path) for split, name in splits.items()}
        raw = {split: _labels(arrays, name, path, len(images[split])) for split, name in splits.items()}
        namings = {split: _naming(path, name) for split, name in splits.items()}
        class_names, labels = resolve(
            raw, options.own_names, lambda split, index: namings[split](index), f"'{path}'", Listed.of(options)
        )
        found = {
            split: LazyImages(_reader(pixels), labels[split], None, namings[split]) for split, pixels in images.items()
        }
        return assemble(Origin(path.stem, source=str(path)), class_names, found, Checks.of(options))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # allow_pickle=False: a file from elsewhere must not be able to run code.
        with np.load(path, allow_pickle=False) as file:
            wanted = [f"{split}_{part}" for split in ("train", *TEST) for part in ("images", "labels")]
            arrays = {name: file[name] for name in wanted if name in file.files}
            held = ", ".join(file.files) or "nothing"
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' is not a readable .npz file: {str(error).splitlines()[0] or 'empty'}") from error
    for name in ("train_images", "train_labels"):
        if name not in arrays:
            raise DataError(f"'{path}' has no array {name}; it has {held}")
    return arrays


def _images(arrays: dict[str, NDArray[Any]], split: str, path: Path) -> NDArray[np.uint8]:
    images = arrays[f"{split}_images"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise DataError(
            f"'{path}': {split}_images is {images.dtype} {list(images.shape)}; expected uint8 [n, h, w] or [n, h, w, 3]"
        )
    return images


def _labels(arrays: dict[str, NDArray[Any]], split: str, path: Path, count: int) -> list[int]:
    labels = arrays.get(f"{split}_labels")
    if labels is None:
        raise DataError(f"'{path}' has {split}_images, but no {split}_labels")
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or not np.issubdtype(flat.dtype, np.integer):
        raise DataError(
            f"'{path}': {split}_labels is {labels.dtype} {list(labels.shape)}; expected one whole number an image "
            "([n] or [n, 1]): several labels of one image cannot be classes"
        )
    if len(flat) != count:
        raise DataError(f"'{path}': {count} {split}_images, but {len(flat)} {split}_labels")
    return [int(label) for label in flat]


def _naming(path: Path, split: str) -> Callable[[int], str]:
    return lambda index: f"{path} {split} row {index}"


def _reader(images: NDArray[np.uint8]) -> Callable[[int], bytes]:
    def read(index: int) -> bytes:
        # PNM: a header and the pixels, so the same bytes, and the same digest, with every version of Pillow.
        pixels = images[index]
        kind = "P6" if pixels.ndim == 3 else "P5"
        content: bytes = pixels.tobytes()
        return f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode() + content

    return read
