"""One mean row per class: what OSCAR (arXiv 2502.08488) does with a client's captions, but at the server."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.conditioning import in_client_order, unite
from fgl.errors import UploadError
from fgl.plugins.aggregators.options import ClassMeanOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


CLIENT_ID = "aggregate"


class _Key(NamedTuple):
    """Rows with the same key are averaged.

    Rows with and without a negative prompt, or with different guidance scales, have no meaningful mean, so they stay
    apart. guidance_scale: None: the generator's own.
    """

    class_id: int
    client_id: str
    domain: str
    guidance_scale: float | None
    arrays: tuple[str, ...]


class ClassMean:
    """The mean of the rows of a class, each weighted by the samples that it stands for."""

    def __init__(self, options: ClassMeanOptions) -> None:
        self.options = options

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """Means in float32, summed in float64, as one upload of the client "aggregate". generator: fingerprint.

        If all rows of a mean are equal in an array (usually the negative prompt), it is kept as it is. A mean over
        several domains has domain "". Raises UploadError if rows differ in an array that is not floating point.
        """
        ordered = in_client_order(uploads)
        if not any(len(upload) for upload in ordered):
            return unite([], generator)
        groups: dict[_Key, list[tuple[int, int]]] = {}
        for source, upload in enumerate(ordered):
            for row in range(len(upload)):
                groups.setdefault(self._key(upload, row), []).append((source, row))
        keys = sorted(groups, key=lambda key: (key.class_id, key.client_id, key.domain, str(key[3:])))
        members = [groups[key] for key in keys]
        mean = _upload(ordered, keys, members)
        clients = [{ordered[source].client_id for source, _ in rows} for rows in members]
        return unite([mean], generator, [clients])

    def _key(self, upload: ClientUpload, row: int) -> _Key:
        guidance = float(upload.guidance_scale[row])
        return _Key(
            int(upload.class_id[row]),
            upload.client_id if self.options.per_client else "",
            upload.domain[row] if self.options.per_domain else "",
            None if math.isnan(guidance) else guidance,
            tuple(
                name for name in sorted(upload.arrays) if name not in upload.indices or upload.indices[name][row] >= 0
            ),
        )


def _upload(sources: list[ClientUpload], keys: list[_Key], members: list[list[tuple[int, int]]]) -> ClientUpload:
    """One row for each key. All arrays are shared, so that equal means are stored once."""
    names = sorted({name for key in keys for name in key.arrays})
    arrays: dict[str, Array] = {}
    indices: dict[str, Array] = {}
    for name in names:
        stored: dict[bytes, int] = {}
        rows: list[Array] = []
        pointers = np.full(len(keys), -1, dtype=np.int32)
        for position, (key, places) in enumerate(zip(keys, members, strict=True)):
            if name in key.arrays:
                row = _mean(name, [(sources[source], row) for source, row in places])
                digest = hashlib.sha256(np.ascontiguousarray(row).view(np.uint8).data).digest()
                if digest not in stored:
                    stored[digest] = len(rows)
                    rows.append(row)
                pointers[position] = stored[digest]
        arrays[name], indices[name] = np.stack(rows), pointers
    domains = [sorted({sources[source].domain[row] for source, row in rows}) for rows in members]
    return ClientUpload(
        client_id=CLIENT_ID,
        round=max(source.round for source in sources),
        encoder=sources[0].encoder,
        arrays=arrays,
        indices=indices,
        class_id=np.array([key.class_id for key in keys], dtype=np.int64),
        weight=np.array([sum(float(sources[source].weight[row]) for source, row in rows) for rows in members]),
        domain=tuple(found[0] if len(found) == 1 else "" for found in domains),
        guidance_scale=np.array([math.nan if key.guidance_scale is None else key.guidance_scale for key in keys]),
    )


def _mean(name: str, places: list[tuple[ClientUpload, int]]) -> Array:
    """Weighted mean over rows, [*shape], float32; the common row if all are equal."""
    first = next(_rows(name, places))
    if all(np.array_equal(row, first) for row in _rows(name, places)):
        # Casting to float32 is exact for what uploads hold, so equal float16 rows stay equal.
        return first.astype(np.float32) if np.issubdtype(first.dtype, np.floating) else first
    if not np.issubdtype(first.dtype, np.floating):
        raise UploadError(
            f"class-mean: rows of one class differ in the array {name!r} of dtype {first.dtype}: expected floating "
            "point, which can be averaged; use the aggregator 'union'"
        )
    weights = [float(upload.weight[row]) for upload, row in places]
    total = np.zeros(first.shape, dtype=np.float64)
    for row, weight in zip(_rows(name, places), weights, strict=True):
        total += row.astype(np.float64) * weight
    return (total / sum(weights)).astype(np.float32)


def _rows(name: str, places: list[tuple[ClientUpload, int]]) -> Iterator[Array]:
    for upload, row in places:
        pointers = upload.indices.get(name)
        yield upload.arrays[name][row if pointers is None else int(pointers[row])]


__all__ = ["CLIENT_ID", "ClassMean"]
