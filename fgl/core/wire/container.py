"""The container of an upload: a safetensors file, read more strictly than the format asks.

A safetensors file is a little-endian uint64 n, n bytes of JSON, and the tensors' bytes. The JSON maps each name to its
dtype, shape and place. This reader decides everything from the header before it looks at a tensor, allocates nothing
that the file's own size does not bound, and rejects what two readers could read differently: names given twice, holes,
overlaps, places out of order, numbers that are not integers, text that is not UTF-8. What it accepts, the safetensors
library reads as the same arrays; a test compares them.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from fgl.errors import StoreError, UploadFormatError
from fgl.io.files import open_regular
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
"""What an upload may hold. safetensors knows more; nothing here needs them."""
MODEL_DTYPES = {**DTYPES, "I64": np.dtype("<i8")}
"""What a model may hold: BatchNorm counts its batches in 64 bits."""
# The order in which safetensors lays tensors of several dtypes.
_WRITTEN = ("F64", "F32", "I32", "F16", "I8", "U8")
MAX_HEADER, MAX_TENSORS, MAX_AXES = 1_000_000, 64, 8
MAX_MODEL_TENSORS = 8192
# An array without elements may have a huge axis all the same, which numpy cannot even make empty.
_MAX_BYTES = 2**47


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one tensor lies. start: bytes from the beginning of the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def layout(
    data: bytes | memoryview | mmap.mmap, size: int | None = None, model: bool = False
) -> tuple[dict[str, str], dict[str, Slot]]:
    """(the header's metadata, name → Slot). data: the whole file, or its beginning with the header; then size: of the
    whole file, bytes. model: whether it may hold as many arrays, and of the dtypes, that a model has. Raises
    UploadFormatError."""
    dtypes, most = (MODEL_DTYPES, MAX_MODEL_TENSORS) if model else (DTYPES, MAX_TENSORS)
    size = len(data) if size is None else size
    _require(size >= 8, "too short for a safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    _require(length <= size - 8, "its first bytes promise a header longer than the file: cut, or no safetensors file")
    _require(length <= MAX_HEADER, f"a header of {length:,} bytes; at most {MAX_HEADER:,}")
    header = parse(bytes(data[8 : 8 + length]))
    metadata = header.pop("__metadata__", {})
    if not _are_texts(metadata):
        raise UploadFormatError("refused: metadata that is not a mapping of texts")
    _require(len(header) <= most, f"{len(header)} arrays; at most {most}")
    begin = 8 + length
    slots = {name: _slot(name, entry, begin, dtypes) for name, entry in header.items()}
    reached = begin
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].start, item[1].size)):
        _require(slot.start == reached, f"array {quoted(name)} leaves a hole or lies over another")
        reached += slot.size
    _require(reached <= size, f"the file is cut: it lacks {reached - size:,} of its bytes")
    _require(reached == size, f"{size - reached:,} bytes at the end belong to no array")
    return metadata, slots


def views(data: bytes | memoryview, slots: Mapping[str, Slot]) -> dict[str, Array]:
    """Each tensor as a read-only view of the file's bytes."""
    return {
        name: np.frombuffer(data, slot.dtype, math.prod(slot.shape), slot.start).reshape(slot.shape)
        if slot.size
        else np.empty(slot.shape, slot.dtype)
        for name, slot in slots.items()
    }


class Stored(Mapping[str, "Array"]):
    """Tensors of a file on disk. An array is mapped when it is asked for and let go with the last reference to it, so
    that thousands of files take no memory. The file has been checked before; it must not change meanwhile."""

    def __init__(self, path: Path, slots: Mapping[str, Slot]) -> None:
        self._path, self._slots = path, dict(slots)

    def __getitem__(self, name: str) -> Array:
        slot = self._slots[name]
        if not slot.size:
            return np.empty(slot.shape, slot.dtype)
        try:
            return np.memmap(self._path, slot.dtype, "r", slot.start, slot.shape)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self._path}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)


def size_of(metadata: Mapping[str, str], tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> int:
    """Bytes of the file that the safetensors library would write for tensors of these dtypes and shapes."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    reached = 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: (_WRITTEN.index(names[item[1][0]]), item[0])):
        end = reached + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": names[dtype], "shape": shape, "data_offsets": [reached, end]}
        reached = end
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())
    return 8 + -(-length // 8) * 8 + reached


def header_of(path: Path) -> tuple[dict[str, str], dict[str, Slot]]:
    """`layout` of a file, of which only the header is read."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            return layout(start + file.read(min(length, MAX_HEADER)), size)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def parse(text: bytes) -> dict[str, object]:
    # json.loads would guess at other encodings, and of a repeated name keep the last
    try:
        _require(text[:1] == b"{", "the header does not begin with {")
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
        json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8")  # lone surrogates cannot be encoded
    except (ValueError, RecursionError) as error:
        raise UploadFormatError(f"refused: unreadable header: {type(error).__name__}: {quoted(error)}") from error
    if not isinstance(header, dict):
        raise UploadFormatError("refused: the header is not a mapping")
    return header


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name is given twice")
    return mapping


def _are_texts(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _slot(name: str, entry: Any, begin: int, dtypes: Mapping[str, np.dtype[Any]]) -> Slot:
    is_described = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
    _require(is_described, f"array {quoted(name)} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    known = isinstance(dtype, str) and dtype in dtypes
    _require(known, f"array {quoted(name)} is of dtype {quoted(dtype)}; expected {', '.join(dtypes)}")
    _require(_naturals(shape) and len(shape) <= MAX_AXES, f"array {quoted(name)} has the shape {quoted(shape)}")
    _require(_naturals(offsets) and len(offsets) == 2, f"array {quoted(name)} lies at {quoted(offsets)}")
    slot = Slot(dtypes[dtype], tuple(shape), begin + offsets[0])
    fits = math.prod(axis for axis in shape if axis) * slot.dtype.itemsize < _MAX_BYTES
    _require(fits, f"array {quoted(name)} has the shape {quoted(shape)}")
    _require(offsets[0] <= offsets[1], f"array {quoted(name)} ends before it begins")
    _require(slot.size == offsets[1] - offsets[0], f"array {quoted(name)} is given more or fewer bytes than it needs")
    return slot


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**48 for item in value)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise UploadFormatError(f"refused: {rule}")
