"""The paper's aggregation: the union of all clients' rows."""

from __future__ import annotations

from collections.abc import Sequence

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.conditioning import in_client_order, unite
from fgl.plugins.aggregators.options import UnionOptions


class Union:
    """Every row that any client asked for. Equal rows of several clients become one, with the sum of their weights.

    Rows are equal if they have the same class, the same guidance scale and the same bytes in every array, including the
    shared rows (the negative prompt) that they point to. Rows that differ only in domain are equal too, and take the
    domain of the first client by id.
    """

    def __init__(self, options: UnionOptions) -> None:
        self.options = options

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """The union, as an index into `uploads`, sorted by client id. Copies no array. generator: fingerprint."""
        return unite(in_client_order(uploads), generator)


__all__ = ["Union"]
