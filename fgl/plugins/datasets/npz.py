"""A dataset in one .npz file of arrays, the format in which MedMNIST is published."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgl.errors import DataError
from fgl.plugins.datasets.base import Checks, Loaded, LoadedOnce, Origin, assemble
from fgl.plugins.datasets.class_list import ListedClasses, resolve
from fgl.plugins.datasets.images import LazyImages
from fgl.plugins.datasets.options import NpzOptions
from fgl.plugins.datasets.paths import existing
from fgl.plugins.datasets.splits import TEST
from fgl.text import escaped, first_line, some

_FREE, _GROWTH = 1 << 30, 200
"""An array may take up this many bytes in memory, or this many times its size in the file, whichever is more."""


class Npz(LoadedOnce):
    """`train_images` uint8 [n, h, w] or [n, h, w, 3], `train_labels` whole numbers [n] or [n, 1]; test likewise.

    Images are held in memory. Classes are numbers until `class_names` or `labels` names them.
    """

    def __init__(self, options: NpzOptions) -> None:
        self.options = options

    def _load(self) -> Loaded:
        options = self.options
        path = existing(options.path, "the .npz file")
        arrays = _read(path)
        splits = {"train": "train"}
        test_names = [name for name in TEST if f"{name}_images" in arrays]
        test = test_names[0] if test_names else None
        if test is not None:
            splits["test"] = test
        images = {split: _images(arrays, name, path) for split, name in splits.items()}
        raw = {split: _labels(arrays, name, path, len(images[split])) for split, name in splits.items()}
        namings = {split: _naming(path, name) for split, name in splits.items()}
        class_names, labels = resolve(
            raw, options.own_names, lambda split, index: namings[split](index), f"'{path}'", ListedClasses.of(options)
        )
        lazy_images = {
            split: LazyImages(_reader(pixels), labels[split], None, namings[split]) for split, pixels in images.items()
        }
        notes = [f"left out beside the splits: {', '.join(test_names[1:])}"] if test_names[1:] else []
        return assemble(
            Origin(escaped(path.stem), source=escaped(str(path)), notes=tuple(notes)),
            class_names,
            lazy_images,
            Checks.of(options),
        )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    wanted = [f"{split}_{part}" for split in ("train", *TEST) for part in ("images", "labels")]
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            arrays = {name: _array(archive, held[name], path) for name in wanted if name in held}
    except DataError:
        raise
    except Exception as error:  # damaged archives raise almost anything: BadZipFile, ValueError, MemoryError, ...
        raise DataError(f"'{path}' is not a readable .npz file: {first_line(error)}") from error
    for name in ("train_images", "train_labels"):
        if name not in arrays:
            raise DataError(
                f"'{path}' has no array {name}; it has {some([escaped(one) for one in held], 20) or 'nothing'}"
            )
    return arrays


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    """Read an array. Raises DataError, before allocating memory, if it is truncated or a decompression bomb."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        stated = math.prod(shape) * dtype.itemsize
        available = info.file_size - file.tell()
    if stated > available and not dtype.hasobject:
        raise DataError(f"'{path}': {info.filename} states {stated:,} bytes and holds {available:,}; it is damaged")
    if available > max(_FREE, _GROWTH * info.compress_size):
        raise DataError(
            f"'{path}': {info.filename} has {info.compress_size:,} bytes and becomes {available:,}: images do not "
            "compress like that; if the data is right, save it with numpy.savez instead"
        )
    with archive.open(info) as file:
        # allow_pickle=False: a file from elsewhere must not be able to run code.
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


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
            f"'{path}': {split}_labels is {labels.dtype} {list(labels.shape)}; expected one whole number per image "
            "([n] or [n, 1]): several labels of one image cannot be classes"
        )
    if len(flat) != count:
        raise DataError(f"'{path}': {count} {split}_images, but {len(flat)} {split}_labels")
    return [int(label) for label in flat]


def _naming(path: Path, split: str) -> Callable[[int], str]:
    return lambda index: f"{escaped(str(path))} {split} row {index}"


def _reader(images: NDArray[np.uint8]) -> Callable[[int], bytes]:
    def read(index: int) -> bytes:
        # PNM: a header and the pixels, so the same bytes, and the same digest, with every version of Pillow.
        pixels = images[index]
        kind = "P6" if pixels.ndim == 3 else "P5"
        content: bytes = pixels.tobytes()
        return f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode() + content

    return read
