"""Type names for the arrays that components pass to each other. Each use states the shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    """Numbers of any dtype."""

    Pixels = NDArray[np.uint8]
    """Images in RGB, 0 to 255."""

    Labels = NDArray[np.int64]
    """Class ids, or other integers such as positions and counts."""
