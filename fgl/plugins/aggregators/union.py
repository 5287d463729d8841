"""The paper's aggregation: the union of all clients' rows."""

from __future__ import annotations

from collections.abc import Sequence

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.conditioning import in_client_order, unite
from fgl.plugins.aggregators.options import UnionOptions


class Union:
    """Every row that any client asked for. Rows that several ask for are generated once, with the sum of weights.

    Equal means: same class, same guidance scale, same bytes in every array, including the shared rows (the negative
    prompt) that it points to. Rows that differ only in domain are one, under the domain of the first client by id.
    """

    def __init__(self, options: UnionOptions) -> None:
        self.options = options

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """An index into `uploads`, sorted by client id; copies no array. generator: fingerprint."""
        return unite(in_client_order(uploads), generator)


__all__ = ["Union"]
