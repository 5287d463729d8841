"""Numbers in 8 bits, with one float32 scale for each row and channel.

The scale is the largest magnitude over the row's tokens, by 127, so that a row costs an s-th more than 8 bits a number,
in exchange for which its bytes depend on that row alone: equal rows of two clients stay equal, and are one
conditioning. Rows without a token axis, such as pooled embeddings, have one scale each.

Shapes: n rows, s tokens, d channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.errors import UploadValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array


SCALE = ".scale"
# A smaller scale would be a subnormal number, which some processors flush to zero.
_LEAST = float(np.finfo(np.float32).tiny)
# Numbers that are looked at together: what a check needs beside the array stays at some megabytes, whatever its size.
PIECE = 1 << 20


class Int8:
    """int8 [n, *shape] and float32 scales [n, d]."""

    presented = "float32"

    def layout(self, shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        return {"": ("int8", tuple(shape)), SCALE: ("float32", scale_shape(shape))}

    def encode(self, array: Array) -> Mapping[str, Array]:
        values, scale = quantize(array)
        return {"": values, SCALE: scale}

    def decode(self, tensors: Mapping[str, Array]) -> Rows:
        return Quantized(tensors[""], tensors[SCALE])

    def check(self, name: str, tensors: Mapping[str, Array], bound: float) -> None:
        check_quantized(name, tensors[""], tensors[SCALE], bound)


def scale_shape(shape: Sequence[int]) -> tuple[int, int]:
    """[n, d] of an array [n, ..., d], [n, 1] of one without a token axis."""
    return shape[0], shape[-1] if len(shape) > 2 else 1


def quantize(array: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(values, scale) of finite floats [n, *shape]. An element is off by at most half its scale, and by what float32
    rounds in their product."""
    view = _by_channel(array)
    values, scale = np.empty(view.shape, np.int8), np.empty((len(view), view.shape[2]), np.float32)
    for part in _pieces(view.shape):
        exact = view[part].astype(np.float64)
        peak = np.abs(exact).max(axis=1, initial=0)
        scale[part] = np.where(peak > 0, np.maximum(peak / 127, _LEAST), 0)
        step = np.where(peak > 0, scale[part], 1).astype(np.float64)
        values[part] = np.clip(np.rint(exact / step[:, None]), -127, 127)
    return values.reshape(array.shape), scale


class Quantized:
    """int8 [n, *shape] with its scales, as the float32 rows that they stand for: an index makes the rows that it asks
    for, and numpy.asarray makes them all."""

    dtype = np.dtype("float32")

    def __init__(self, values: Array, scale: Array) -> None:
        self.values, self.scale = values, scale

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any, /) -> Array:
        if isinstance(index, int | np.integer):
            row: Array = _floats(self.values[index][None], self.scale[index][None])[0]
            return row
        if isinstance(index, slice | list | np.ndarray):
            return _floats(self.values[index], self.scale[index])
        raise TypeError(f"rows of a quantized array are asked for by number, slice or list, not by {index!r}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return _floats(self.values, self.scale).astype(dtype or self.dtype, copy=False)


def check_quantized(name: str, values: Array, scale: Array, bound: float) -> None:
    """Raises UploadValueError where a number is none that `quantize` writes, or stands for more than `bound`. Judges by
    the scales: no row is made."""
    flat = values.reshape(-1)
    for start in range(0, len(flat), PIECE):
        if int(flat[start : start + PIECE].min()) < -127:
            raise UploadValueError(f"refused: {name} holds -128: int8 is symmetric, from -127 to 127")
    least, beyond = (int(np.float32(one).view(np.uint32)) for one in (_LEAST, np.inf))
    scales = np.ascontiguousarray(scale).reshape(-1)
    for start in range(0, len(scales), PIECE):
        part = scales[start : start + PIECE]
        # A sign, infinity and NaN show in the bits of what would otherwise pass as zero or need a rule of its own.
        bits = part.view(np.uint32)
        if not bool(((bits == 0) | ((bits >= least) & (bits < beyond))).all()):
            raise UploadValueError(f"refused: {name}{SCALE} holds numbers that are negative, not finite, or subnormal")
        with np.errstate(over="ignore"):
            largest = float((part * np.float32(127)).max())
        if largest > bound:
            raise UploadValueError(f"refused: {name} stands for numbers beyond {bound:g}")


def _by_channel(array: Array) -> Array:
    """[n, s, d] of an array whose scales are [n, d]."""
    return (
        array.reshape(len(array), math.prod(array.shape[1:-1]), array.shape[-1])
        if array.ndim > 2
        else (array.reshape(len(array), math.prod(array.shape[1:]), 1))
    )


def _floats(values: Array, scale: Array) -> NDArray[np.float32]:
    rows = _by_channel(values).astype(np.float32)
    rows *= scale[:, None]
    rows += 0.0  # a negative number by a scale of zero is -0.0, which would be another row than 0.0
    return rows.reshape(values.shape)


def _pieces(shape: Sequence[int]) -> Iterator[slice]:
    """Rows that are looked at together."""
    step = max(1, PIECE // max(1, math.prod(shape[1:])))
    return (slice(start, start + step) for start in range(0, shape[0], step))
