"""Type names for the arrays that components pass to each other. Each use states the shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    """Numbers of any dtype."""

    Pixels = NDArray[np.uint8]
    """Images in RGB, 0 to 255."""

    Labels = NDArray[np.int64]
    """Class ids, or other integers such as positions and counts."""


def contiguous(arrays: Mapping[str, Array], dtype: type[np.generic] | None = None) -> dict[str, Array]:
    """Copies of the arrays in C order, as safetensors writes them. dtype: None: each array's own."""
    import numpy as np

    return {name: np.array(array, dtype=dtype, order="C") for name, array in arrays.items()}
