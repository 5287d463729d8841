"""From uploads to a Conditioning: equal rows once, as an index into the uploads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from fgl.core.types import ClientUpload, Conditioning
from fgl.plugins.aggregators.identity import row_ids


@dataclass(slots=True)
class _Row:
    """A row seen for the first time, and what later equal ones added to it."""

    class_id: int
    domain: str
    guidance_scale: float
    source: int
    row: int
    weight: float
    clients: set[str]


def unite(
    sources: Sequence[ClientUpload], generator: str, clients: Sequence[Sequence[Collection[str]]] | None = None
) -> Conditioning:
    """Rows of `sources` with the same conditioning id become one: weights summed, clients counted, nothing copied.

    The first in order of `sources` gives the row its place and its domain: a domain is a label of a row, not a
    parameter of its pictures. generator: fingerprint. clients: for each row of each source, who asked for it; None
    where every row was asked for by its upload's client.
    """
    found: dict[str, _Row] = {}
    for source, upload in enumerate(sources):
        weights, classes, guidance = upload.weight.tolist(), upload.class_id.tolist(), upload.guidance_scale.tolist()
        for row, row_id in enumerate(row_ids(upload, generator)):
            asked = (upload.client_id,) if clients is None else clients[source][row]
            known = found.get(row_id)
            if known is None:
                found[row_id] = _Row(
                    classes[row], upload.domain[row], guidance[row], source, row, weights[row], set(asked)
                )
            else:
                known.weight += weights[row]
                known.clients.update(asked)
    ordered = sorted(found.items(), key=lambda item: (item[1].class_id, item[0]))
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
    """By client id, then round: floating-point sums depend on the order, and the result must not on the arrival."""
    return sorted(uploads, key=lambda upload: (upload.client_id, upload.round))


__all__ = ["in_client_order", "unite"]
