"""Which rows are equal, and how the uploads of many clients become one Conditioning."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import ClientUpload, Conditioning

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array


_VERSION = b"fgl conditioning 1"


def conditioning_id(arrays: Mapping[str, Array], class_id: int, guidance_scale: float, generator: str) -> str:
    """The id of one row: 64 hex digits. Equal rows have equal ids.

    Args:
        arrays: The row's arrays, each [*shape].
        class_id: The row's class.
        guidance_scale: NaN: the generator's own.
        generator: Fingerprint of the generator.
    """
    digests = {name: _row_digests(array[None])(0) for name, array in arrays.items()}
    return _combine(digests, class_id, guidance_scale, generator)


def row_ids(upload: ClientUpload, generator: str) -> list[str]:
    """The conditioning id of each row of an upload, in row order.

    Each row is read in place and only once; a row of a shared array is read once for each upload, however many rows
    point to it.
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


def unite(
    sources: Sequence[ClientUpload], generator: str, clients: Sequence[Sequence[Collection[str]]] | None = None
) -> Conditioning:
    """Merge rows with the same conditioning id: weights are summed, clients counted, and no array is copied.

    The first of equal rows, in the order of `sources`, determines where the row is read and its domain: a domain is a
    label of a row, not a parameter of its images.

    Args:
        sources: The uploads.
        generator: Fingerprint of the generator.
        clients: For each row of each source, the clients that asked for it. None: only the client of the upload.
    """
    unique: dict[str, _Row] = {}
    for source, upload in enumerate(sources):
        weights, classes, guidance = upload.weight.tolist(), upload.class_id.tolist(), upload.guidance_scale.tolist()
        for row, row_id in enumerate(row_ids(upload, generator)):
            requesters = (upload.client_id,) if clients is None else clients[source][row]
            earlier = unique.get(row_id)
            if earlier is None:
                unique[row_id] = _Row(
                    classes[row], upload.domain[row], guidance[row], source, row, weights[row], set(requesters)
                )
            else:
                earlier.weight += weights[row]
                earlier.clients.update(requesters)
    ordered = sorted(unique.items(), key=lambda item: (item[1].class_id, item[0]))
    rows = [row for _, row in ordered]
    return Conditioning(
        ids=tuple(row_id for row_id, _ in ordered),
        class_id=np.array([row.class_id for row in rows], dtype=np.int64),
        weight=np.array([row.weight for row in rows], dtype=np.float64),
        domain=tuple(row.domain for row in rows),
        guidance_scale=np.array([row.guidance_scale for row in rows], dtype=np.float64),
        source=np.array([row.source for row in rows], dtype=np.int64),
        row=np.array([row.row for row in rows], dtype=np.int64),
        clients=np.array([len(row.clients) for row in rows], dtype=np.int64),
        sources=tuple(sources),
    )


def in_client_order(uploads: Sequence[ClientUpload]) -> list[ClientUpload]:
    """Sort by client id, then round: floating-point sums depend on the order, and must not depend on who came first."""
    return sorted(uploads, key=lambda upload: (upload.client_id, upload.round))


@dataclass(slots=True)
class _Row:
    """A unique row: where it was first seen, with what later equal rows added to it."""

    class_id: int
    domain: str
    guidance_scale: float
    source: int
    row: int
    weight: float
    clients: set[str]


def _combine(digests: Mapping[str, bytes | None], class_id: int, guidance_scale: float, generator: str) -> str:
    total = hashlib.sha256(_VERSION)
    for text in (generator, str(class_id)):
        total.update(_framed(text.encode()))
    # Every NaN means "the generator's own", whatever its bit pattern.
    total.update(b"own" if math.isnan(guidance_scale) else struct.pack("<d", guidance_scale))
    for name in sorted(digests):
        total.update(_framed(name.encode()))
        total.update(digests[name] or b"")
    return total.hexdigest()


def _row_digests(array: Rows, pointers: list[int] | None = None) -> Callable[[int], bytes | None]:
    """A function from row to the 32-byte digest of its dtype, shape and bytes; None for a row whose pointer is -1."""
    # Numbers are hashed little-endian, as in the file, so that ids agree between machines.
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
    # The length prefix distinguishes ("ab", "c") from ("a", "bc").
    return struct.pack("<q", len(data)) + data
