"""Rows of bounded norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.prompts import Prepared
from fgl.errors import ConfigError, Problem
from fgl.plugins.upload_filters.options import ClipOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.prompt import Prompt
    from fgl.contracts.upload_filter import FilterContext


class Clip:
    """Scales each row x to x · min(1, max_norm / ‖x‖₂), as the clipping of Abadi et al. 2016 (arXiv 1607.00133)."""

    def __init__(self, options: ClipOptions) -> None:
        self.options = options

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        """Clip the rows of each chosen array by itself; the norm is computed in float64."""
        names = self.options.arrays or [name for name in arrays if name not in indices]
        if absent := [name for name in names if name not in arrays]:
            expected = f"expected names of the generator's arrays: {', '.join(arrays)}"
            raise ConfigError([Problem("upload.filters.clip.arrays", ", ".join(absent), expected)])
        kept = {**arrays, **{name: self._clipped(arrays[name], context) for name in names}}
        return Prepared(prompts, kept, indices)

    def _clipped(self, array: Array, context: FilterContext) -> Array:
        rows = array.reshape(len(array), -1).astype(np.float64)
        norms = np.sqrt((rows**2).sum(axis=1))
        over = norms > self.options.max_norm
        context.note("rows_clipped", int(over.sum()))
        scale = np.where(over, self.options.max_norm / np.where(over, norms, 1), 1)
        clipped = np.where(over[:, None], rows * scale[:, None], rows)
        return clipped.reshape(array.shape).astype(np.float32)

    def describe(self) -> Mapping[str, object]:
        arrays = self.options.arrays
        return {
            "max_norm": self.options.max_norm,
            "norm": "L2, over a row",
            "arrays": arrays or "all that are not shared",
        }
