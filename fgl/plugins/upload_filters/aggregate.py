"""An aggregator at the client, on its own upload: what OSCAR (arXiv 2502.08488) does with captions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

import fgl
from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.prompts import Prepared, Prompt
from fgl.plugins.upload_filters.options import AggregateOptions

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Aggregator
    from fgl.contracts.arrays import Array
    from fgl.contracts.upload_filter import FilterContext


class Aggregate:
    """Sends the rows that the aggregator makes of the client's own: with class-mean one per class and domain."""

    def __init__(self, options: AggregateOptions) -> None:
        self.options = options
        self.aggregator: Aggregator = fgl.create("aggregator", options.aggregator, **options.options)

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        """Rows in the aggregator's order, by class. The text of a row is that of its class if all prompts of the class
        have the same, or else the name of the class: it stays at the client, and no encoding belongs to it."""
        upload = ClientUpload(
            client_id=context.client_id,
            round=context.round,
            encoder="" if context.declaration is None else context.declaration.encoder,
            arrays=dict(arrays),
            indices=dict(indices),
            class_id=np.array([prompt.class_id for prompt in prompts], dtype=np.int64),
            weight=np.array([prompt.weight for prompt in prompts], dtype=np.float64),
            domain=tuple(prompt.domain or "" for prompt in prompts),
            guidance_scale=np.array(
                [math.nan if prompt.guidance_scale is None else prompt.guidance_scale for prompt in prompts]
            ),
        )
        rows = self.aggregator.aggregate([upload], upload.encoder)
        context.note("rows_before_aggregation", len(prompts))
        return Prepared(_prompts(rows, prompts, context.class_names), *_arrays(rows, arrays, indices))

    def describe(self) -> Mapping[str, object]:
        return {"aggregator": self.options.aggregator, **self.options.options}


def _prompts(rows: Conditioning, prompts: Sequence[Prompt], class_names: Sequence[str]) -> list[Prompt]:
    texts: dict[int, set[tuple[str, str | None]]] = {}
    for prompt in prompts:
        texts.setdefault(prompt.class_id, set()).add((prompt.text, prompt.negative))
    made = []
    for row, class_id in enumerate(rows.class_id.tolist()):
        known = texts.get(class_id, set())
        text, negative = next(iter(known)) if len(known) == 1 else (class_names[class_id], None)
        scale = float(rows.guidance_scale[row])
        made.append(
            Prompt(
                class_id,
                text,
                negative,
                rows.domain[row] or None,
                float(rows.weight[row]),
                None if math.isnan(scale) else scale,
            )
        )
    return made


def _arrays(
    rows: Conditioning, arrays: Mapping[str, Array], indices: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(arrays, indices) of the rows; of a shared array, equal rows are kept once."""
    made: dict[str, Array] = {}
    pointers: dict[str, Array] = {}
    for name, array in arrays.items():
        gathered = rows.gather(name, range(len(rows)))
        if name not in indices:
            made[name] = np.stack([row for row in gathered if row is not None])
            continue
        places: dict[bytes, int] = {}
        index = np.full(len(rows), -1, dtype=np.int32)
        kept: list[Array] = []
        for position, row in enumerate(gathered):
            if row is None:
                continue
            digest = np.ascontiguousarray(row).tobytes()
            if digest not in places:
                places[digest] = len(kept)
                kept.append(row)
            index[position] = places[digest]
        made[name] = np.stack(kept) if kept else np.zeros((0, *array.shape[1:]), np.float32)
        pointers[name] = index
    return made, pointers
