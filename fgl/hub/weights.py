"""Checks files of weights without loading a model: whether they are whole, and whether all numbers are finite.

A safetensors file is a little-endian uint64 n, n bytes of JSON, and the bytes of the tensors. The JSON maps each name
to its dtype, shape and position.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fgl.hub.documents import json_object, parse_object
from fgl.text import plain, quoted

POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_HEADER = 100_000_000  # bytes, the format's own limit
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}
# dtype → (integers of its width, bits that are all set only in infinity and NaN)
_SPECIAL = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
_BLOCK = 1 << 22  # numbers at once


class WeightsError(ValueError):
    """A file that is not what it should be. The message completes "the file …"."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor in a file."""

    dtype: str
    """The format's name of its dtype, such as "BF16"."""

    shape: tuple[int, ...]
    """Its shape."""

    start: int
    """Its first byte, from the beginning of the file."""

    end: int
    """The byte after its last."""


def tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, from its header, which must fit the file's length. Raises WeightsError."""
    try:
        if not path.is_file():
            raise WeightsError("does not exist")
        status = path.stat()
        return _tensors(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror or error})") from error


def flaw(path: Path) -> str:
    """Why a model's file cannot be used, judging by its name, beginning and length; "" if nothing is wrong."""
    try:
        if path.suffix == ".safetensors":
            tensors(path)
        elif is_pointer(path):
            return _POINTER_SAID
        elif path.name.endswith(".safetensors.index.json"):
            return _index_flaw(path)
        elif path.suffix == ".json" and path.name.endswith(("config.json", "model_index.json")):
            json_object(path)
    except WeightsError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return ""


def not_finite(path: Path) -> tuple[str, ...]:
    """Names of the tensors that hold NaN or infinity. Reads the whole file, once per process. Raises WeightsError."""
    header, status = tensors(path), path.stat()
    return _not_finite(path.resolve(), status.st_size, status.st_mtime_ns, tuple(header.items()))


def is_pointer(path: Path) -> bool:
    """Whether the file is a git-lfs pointer instead of its content."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


_POINTER_SAID = (
    "is a git-lfs pointer: git has fetched a note in place of the file; run `git lfs pull` there, or copy the file "
    "itself"
)


@lru_cache(maxsize=256)
def _tensors(path: Path, size: int, modified_ns: int) -> Mapping[str, Tensor]:
    with path.open("rb") as file:
        begins = file.read(len(POINTER))
        if begins == POINTER:
            raise WeightsError(_POINTER_SAID)
        length = struct.unpack("<Q", begins[:8])[0] if len(begins) >= 8 else -1
        if not 0 < length <= _MOST_HEADER:
            raise WeightsError("is not a safetensors file" if size else "is empty")
        file.seek(8)
        head = file.read(length)
    if len(head) < length:
        raise WeightsError(f"is cut off within its header, after {size} bytes: copy or pull it again")
    parsed = _parsed(head, 8 + length)
    end = max((tensor.end for tensor in parsed.values()), default=8 + length)
    if size < end:
        raise WeightsError(f"is cut off: it has {size} of {end} bytes; copy or pull it again")
    if size > end:
        raise WeightsError(f"has {size - end} bytes after its end; copy or pull it again")
    return parsed


def _parsed(head: bytes, begin: int) -> Mapping[str, Tensor]:
    try:
        entries = parse_object(head)
        entries.pop("__metadata__", None)
        return {name: _tensor(entry, begin) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"is not a safetensors file: its header is damaged ({error})") from error


def _tensor(entry: Any, begin: int) -> Tensor:
    dtype, shape, (start, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(one, int) and one >= 0 for one in (*shape, start, end)):
        raise ValueError("a size or position is not a whole number")
    if (end - start) * 8 != math.prod(shape) * _bits(dtype):
        raise ValueError("a tensor's position does not fit its shape")
    return Tensor(dtype, shape, begin + start, begin + end)


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    if dtype == "BOOL":
        return 8
    number = dtype.partition("_")[0].lstrip("BFIU")
    return int(number)


@lru_cache(maxsize=256)
def _not_finite(path: Path, size: int, modified_ns: int, header: tuple[tuple[str, Tensor], ...]) -> tuple[str, ...]:
    """`not_finite`, cached. Time and size are in the key, so that a changed file is read again."""
    bad = []
    for name, tensor in header:
        if tensor.dtype not in _SPECIAL or tensor.start == tensor.end:
            continue
        kind, special = _SPECIAL[tensor.dtype]
        mask = np.array(special, dtype=kind)
        count = (tensor.end - tensor.start) // mask.itemsize
        bits = np.memmap(path, dtype=kind, mode="r", offset=tensor.start, shape=(count,))
        if any(bool(((bits[at : at + _BLOCK] & mask) == mask).any()) for at in range(0, count, _BLOCK)):
            bad.append(name)
    return tuple(bad)


def _index_flaw(path: Path) -> str:
    """What is wrong with a list of shards: a shard is missing, or lacks a tensor that the list says it has."""
    named = json_object(path).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(one, str) for one in named.values()):
        return "lists no shards (weight_map)"
    for shard in sorted(set(named.values())):
        home = path.parent / Path(shard).name
        if not home.is_file():
            return f"names the shard {quoted(shard)}, which does not exist: copy or pull it too"
        held = tensors(home)
        for name in sorted(name for name, of in named.items() if of == shard):
            if name not in held:
                return f"says that {quoted(shard)} holds {plain(name)}, which it does not: they are of different models"
    return ""
