"""An upload filter: what a client does to its upload before it is sent. Here it rounds the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fgl import Array, FilterContext, Options, Prepared, Prompt
from pydantic import Field


class MineOptions(Options):
    """What a user can set in `upload.filters`."""

    decimals: int = Field(2, ge=0, le=6, description="Decimals that are left of each number.")


class Mine:
    """May change rows, arrays and weights. What it is given stays as it is."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        rounded = {name: np.round(array, self.options.decimals) for name, array in arrays.items()}
        return Prepared(prompts, rounded, indices)

    def describe(self) -> Mapping[str, object]:
        """JSON for the report."""
        return {"decimals": self.options.decimals}
