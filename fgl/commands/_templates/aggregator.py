"""An aggregator: how the uploads of many clients become the rows to generate from. Here equal rows are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from fgl import ClientUpload, Conditioning, Options
from fgl.contracts.conditioning import in_client_order, unite
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `aggregator:`."""

    equal_clients: bool = Field(
        False, description="Whether each client's rows of a class weigh as much as every other client's."
    )


class Mine:
    """Conserves the weight of each class; the order in which uploads arrive does not matter."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        ordered = in_client_order(uploads)
        return unite(self._leveled(ordered) if self.options.equal_clients else ordered, generator)

    def _leveled(self, uploads: Sequence[ClientUpload]) -> list[ClientUpload]:
        """Weights scaled so that, of each class, all clients that hold it have the same total."""
        leveled = [upload.weight.copy() for upload in uploads]
        for class_id in np.unique(np.concatenate([upload.class_id for upload in uploads])).tolist():
            holders = [number for number, upload in enumerate(uploads) if (upload.class_id == class_id).any()]
            totals = {n: float(uploads[n].weight[uploads[n].class_id == class_id].sum()) for n in holders}
            for number, total in totals.items():
                share = sum(totals.values()) / len(totals) / total
                leveled[number][uploads[number].class_id == class_id] *= share
        return [replace(upload, weight=weight) for upload, weight in zip(uploads, leveled, strict=True)]
