"""Type names for the arrays that components pass to each other. Each use states the shape.

They can be imported at run time too, which imports numpy. The other contracts name them for type checkers alone:
`typing.get_type_hints` of a class with arrays wants them, and whatever else its fields name, in `localns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    """Numbers of any dtype."""

    Pixels = NDArray[np.uint8]
    """Images in RGB, 0 to 255."""

    Labels = NDArray[np.int64]
    """Class ids, or other integers such as positions and counts."""

else:

    def __getattr__(name: str) -> Any:
        if name not in ("Array", "Labels", "Pixels"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import numpy as np
        from numpy.typing import NDArray

        globals().update(Array=NDArray[Any], Pixels=NDArray[np.uint8], Labels=NDArray[np.int64])
        return globals()[name]


def contiguous(arrays: Mapping[str, Array], dtype: type[np.generic] | None = None) -> dict[str, Array]:
    """Copies of the arrays in C order, as safetensors writes them. dtype: None: each array's own."""
    import numpy as np

    return {name: np.array(array, dtype=dtype, order="C") for name, array in arrays.items()}
