"""A codec: how the rows of an upload become tensors of a file, and rows again. Here as 16-bit numbers.

A codec has no options in a configuration: client and server must mean the same by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fgl import Array, Rows


class Mine:
    """`decode` runs at the server, on numbers that may be anything."""

    presented = "float16"

    def layout(self, shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Suffix of a tensor's name → (dtype, shape), for an array of this shape."""
        return {"": ("float16", tuple(shape))}

    def encode(self, array: Array) -> Mapping[str, Array]:
        return {"": array.astype(np.float16)}

    def decode(self, tensors: Mapping[str, Array]) -> Rows:
        return tensors[""]
