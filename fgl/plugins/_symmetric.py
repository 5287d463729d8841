"""Statistics of features as uploads hold them: symmetric matrices as triangles, float64 as pairs of float32.

Shapes: d features, t = d (d + 1) / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]


def triangle(width: int) -> int:
    """t: entries of a triangle of a d × d matrix, diagonal included."""
    return width * (width + 1) // 2


def packed(matrix: Float64) -> Float64:
    """The lower triangle of a matrix [d, d], row by row: [t]."""
    return matrix[np.tril_indices(len(matrix))]


def symmetric(values: Float64, width: int) -> Float64:
    """The symmetric matrix [d, d] of a packed triangle [t]."""
    lower = lower_triangle(values, width)
    return lower + np.tril(lower, -1).T


def lower_triangle(values: Float64, width: int) -> Float64:
    """The lower triangular matrix [d, d] of a packed triangle [t]."""
    matrix = np.zeros((width, width), dtype=np.float64)
    matrix[np.tril_indices(width)] = values
    return matrix


def split(values: Float64) -> Float32:
    """float64 [n] as float32 [2, n] whose rows sum to it within 2⁻⁴⁸ of each value: uploads hold float32 at most, and
    a linear system would amplify its rounding."""
    high = values.astype(np.float32)
    return np.stack([high, (values - high).astype(np.float32)])


def joined(pair: NDArray[np.floating]) -> Float64:
    """What `split` split: [2, n] → float64 [n]."""
    high, low = np.asarray(pair, dtype=np.float64)
    total: Float64 = high + low
    return total
