"""Floating point numbers as they are, or rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array


class _Floats:
    presented: str

    def layout(self, shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        return {"": (self.presented, tuple(shape))}

    def encode(self, array: Array) -> Mapping[str, Array]:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is rejected
            return {"": np.ascontiguousarray(array, dtype=self.presented)}

    def decode(self, tensors: Mapping[str, Array]) -> Rows:
        return tensors[""]


class Half(_Floats):
    """float16."""

    presented = "float16"


class Exact(_Floats):
    """float32."""

    presented = "float32"
