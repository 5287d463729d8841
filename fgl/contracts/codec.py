"""Codecs: how the rows of an upload become the tensors of a file, and how the server reads them back.

Shapes: n rows of an array, m rows that are looked at together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Rows
    from fgl.contracts.arrays import Array


class Codec(Protocol):
    """Writes each array of an upload as one tensor or several, whose dtypes and shapes follow from the array's shape.

    `decode` runs at the server, on what a client sent. Before it is called, dtypes and shapes are those of `layout`;
    the numbers may be anything. A codec has no options in a configuration: client and server must mean the same by its
    name. One class may have several names by `Component.defaults`.
    """

    presented: str
    """dtype of decoded rows, as aggregators and generators see them: "float16" or "float32"."""

    def layout(self, shape: Sequence[int]) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """The tensors of an array [n, *shape], whose whole shape is given.

        Returns: Suffix of the tensor's name → (dtype, shape). One suffix is "", the tensor of the array's own name,
            whose first axis is n; others begin with a dot, such as ".scale". dtype is one of float64, float32, float16,
            int32, int8 and uint8.
        """

    def encode(self, array: Array) -> Mapping[str, Array]:
        """The tensors of finite floats, float32 [n, *shape], by suffix."""

    def decode(self, tensors: Mapping[str, Array]) -> Rows:
        """The rows, [n, *shape] in the dtype that is presented. A row that is decoded when it is asked for saves
        memory; the tensors may be on disk."""


@runtime_checkable
class SupportsBoundCheck(Protocol):
    """A codec that can tell without decoding whether a tensor's numbers are sound; otherwise all rows are decoded."""

    def check(self, name: str, tensors: Mapping[str, Array], bound: float) -> None:
        """Raise UploadValueError where a tensor holds numbers that `encode` never writes, or that stand for more than
        `bound` in magnitude. name: of the array, for the message."""
