"""No rows of rare classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.prompts import Prepared
from fgl.plugins.upload_filters.options import MinSamplesOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.prompt import Prompt
    from fgl.contracts.upload_filter import FilterContext


class MinSamples:
    """Drops the rows of classes whose weights sum to fewer samples than the threshold."""

    def __init__(self, options: MinSamplesOptions) -> None:
        self.options = options

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        """Rows keep their order; those of a shared array that no row points to any more are left out by fgl."""
        classes = np.array([prompt.class_id for prompt in prompts], dtype=np.int64)
        totals = np.bincount(classes, [prompt.weight for prompt in prompts], minlength=len(context.class_names))
        # a sum of shares may fall short of a whole number by rounding
        kept = np.flatnonzero(totals[classes] >= self.options.samples - 1e-6)
        context.note("classes_withheld", int((totals[np.unique(classes)] < self.options.samples - 1e-6).sum()))
        return Prepared(
            [prompts[row] for row in kept.tolist()],
            {name: array if name in indices else array[kept] for name, array in arrays.items()},
            {name: index[kept] for name, index in indices.items()},
        )

    def describe(self) -> Mapping[str, object]:
        return {"samples": self.options.samples, "withholds": "rows of classes with fewer samples at a client"}
