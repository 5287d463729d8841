"""Conditioning ids: what makes two rows of two clients the same row.

Rows are the same where a generator that is given either one draws the same pictures for the same class. So the id is
a digest over the class, the generator's fingerprint, the guidance scale, and the dtype, shape and bytes of every
array that the row has, *as the upload presents it*: a float32 row and its float16 copy are two rows, and a row of 8 bit
numbers is the float32 row that it stands for. An optional array that a row lacks is left out, so a missing array and an
index of -1 are the same. Client, weight and domain are no parameters of a picture and do not enter.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.core.types import ClientUpload

if TYPE_CHECKING:
    from fgl.core.types import Array, Rows

_VERSION = b"fgl conditioning 1"


def conditioning_id(arrays: Mapping[str, Array], class_id: int, guidance_scale: float, generator: str) -> str:
    """64 hex digits for one row.

    arrays: what the row has, each [*shape]. guidance_scale: NaN for the generator's own.
    """
    digests = {name: _row_digests(array[None])(0) for name, array in arrays.items()}
    return _combine(digests, class_id, guidance_scale, generator)


def row_ids(upload: ClientUpload, generator: str) -> list[str]:
    """The conditioning id of each row of an upload, in row order.

    Reads each row in place and once; a row of a shared array is read once an upload, however many rows point to it.
    """
    per_row = {}
    for name in sorted(upload.arrays):
        pointers = upload.indices.get(name)
        per_row[name] = _row_digests(upload.arrays[name], None if pointers is None else pointers.tolist())
    ids = []
    for row, (class_id, guidance) in enumerate(
        zip(upload.class_id.tolist(), upload.guidance_scale.tolist(), strict=True)
    ):
        digests = {name: digest for name, digest_of in per_row.items() if (digest := digest_of(row)) is not None}
        ids.append(_combine(digests, class_id, guidance, generator))
    return ids


def _combine(digests: Mapping[str, bytes | None], class_id: int, guidance_scale: float, generator: str) -> str:
    total = hashlib.sha256(_VERSION)
    for text in (generator, str(class_id)):
        total.update(_framed(text.encode()))
    # Every NaN means "the generator's own", whatever its bits.
    total.update(b"own" if math.isnan(guidance_scale) else struct.pack("<d", guidance_scale))
    for name in sorted(digests):
        total.update(_framed(name.encode()))
        total.update(digests[name] or b"")
    return total.hexdigest()


def _row_digests(array: Rows, pointers: list[int] | None = None) -> Callable[[int], bytes | None]:
    """A function from row to the 32-byte digest of the row's dtype, shape and bytes; None where its pointer is -1."""
    # Numbers are hashed as the file has them, little-endian, so that ids agree between machines.
    dtype = array.dtype.newbyteorder("<")
    header = hashlib.sha256(_framed(f"{dtype.name} {array.shape[1:]}".encode()))

    def digest(row: int) -> bytes:
        hasher = header.copy()
        hasher.update(np.ascontiguousarray(array[row], dtype).reshape(-1).view(np.uint8).data)
        return hasher.digest()

    if pointers is None:
        return digest
    known: dict[int, bytes] = {}

    def shared(row: int) -> bytes | None:
        pointer = pointers[row]
        if pointer < 0:
            return None
        if pointer not in known:
            known[pointer] = digest(pointer)
        return known[pointer]

    return shared


def _framed(data: bytes) -> bytes:
    # The length in front keeps ("ab", "c") and ("a", "bc") apart.
    return struct.pack("<q", len(data)) + data


__all__ = ["conditioning_id", "row_ids"]
