"""How an item of the synthetic set lies in a shard: pictures as PNG, arrays of other products as lists of numbers."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from fgl.contracts.product import IMAGES, Product
from fgl.errors import StoreError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Pixels

METADATA = b"fgl"
"""Key of a shard's own metadata: shape and dtype of its items, where these are not pictures."""


class Form(Protocol):
    """How items of one product are written and read."""

    @property
    def column(self) -> str:
        """The column that holds them."""

    def encode(self, value: Array) -> bytes:
        """One item → what is kept of it until its shard is written."""

    def packed(self, encoded: Sequence[bytes]) -> pa.Array:
        """The column of a shard."""

    def encoded(self, column: pa.ChunkedArray, rows: Sequence[int]) -> list[bytes]:
        """Some rows of the column, as `encode` returned them."""

    def decoded(self, column: pa.ChunkedArray) -> Iterator[Array]:
        """Every item of the column."""

    def feature(self) -> Mapping[str, object]:
        """What `datasets` calls the column's type."""

    def metadata(self) -> Mapping[bytes, bytes]:
        """What a reader has to know beside the column."""


class PictureForm:
    """uint8 [h, w, 3] as PNG."""

    column = "image"

    def encode(self, value: Array) -> bytes:
        return png(value)

    def packed(self, encoded: Sequence[bytes]) -> pa.Array:
        images = [{"bytes": data, "path": None} for data in encoded]
        return pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))

    def encoded(self, column: pa.ChunkedArray, rows: Sequence[int]) -> list[bytes]:
        return [column[row]["bytes"].as_py() for row in rows]

    def decoded(self, column: pa.ChunkedArray) -> Iterator[Array]:
        for image in column:
            picture = Image.open(io.BytesIO(image["bytes"].as_py())).convert("RGB")
            yield np.asarray(picture, dtype=np.uint8)

    def feature(self) -> Mapping[str, object]:
        return {"_type": "Image"}

    def metadata(self) -> Mapping[bytes, bytes]:
        return {}


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """Arrays of one shape and dtype, each flattened to a list of that dtype."""

    shape: tuple[int, ...]
    dtype: str
    column: str = "values"

    def encode(self, value: Array) -> bytes:
        return np.ascontiguousarray(value, dtype=self._little).tobytes()

    def packed(self, encoded: Sequence[bytes]) -> pa.Array:
        flat = np.frombuffer(b"".join(encoded), dtype=self._little).astype(self.dtype, copy=False)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), self._size)

    def encoded(self, column: pa.ChunkedArray, rows: Sequence[int]) -> list[bytes]:
        values = self._values(column)
        return [self.encode(values[row]) for row in rows]

    def decoded(self, column: pa.ChunkedArray) -> Iterator[Array]:
        yield from self._values(column)

    def feature(self) -> Mapping[str, object]:
        value = {"dtype": np.dtype(self.dtype).name, "_type": "Value"}
        return {"feature": value, "length": self._size, "_type": "Sequence"}

    def metadata(self) -> Mapping[bytes, bytes]:
        said = {"shape": list(self.shape), "dtype": self.dtype}
        return {METADATA: json.dumps(said, allow_nan=False).encode()}

    @property
    def _size(self) -> int:
        return math.prod(self.shape)

    @property
    def _little(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder("<")

    def _values(self, column: pa.ChunkedArray) -> Array:
        parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        flat = np.concatenate(parts) if parts else np.empty(0, dtype=self.dtype)
        values: Array = flat.astype(self.dtype, copy=False).reshape(-1, *self.shape)
        return values


def of_product(product: Product) -> Form:
    """How items of the product are kept. Of what is not synthesized it is each row's weight."""
    if not product.synthesized:
        return ArrayForm((), "float64")
    return PictureForm() if product.kind == IMAGES else ArrayForm(product.shape, product.dtype)


def of_table(table: pa.Table) -> Form:
    """How items of a shard lie in it. Raises StoreError."""
    if PictureForm.column in table.column_names:
        return PictureForm()
    try:
        said = strict_json.loads((table.schema.metadata or {})[METADATA])
        return ArrayForm(tuple(map(int, said["shape"])), np.dtype(said["dtype"]).name)
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError("a shard says neither of images nor of arrays what it holds; run again to redo it") from error


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()
