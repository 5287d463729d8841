"""Aggregators: how the uploads of many clients become the rows that images are synthesized from.

Shapes: n rows of an upload, s tokens, d embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.prompt import Prompt


class Rows(Protocol):
    """An array of an upload, rows first: a numpy array, or one whose rows are decoded on demand.

    `numpy.asarray(rows)` decodes all of them.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the decoded rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, then the shape of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any:
        """One row or several. index: a number, slice or list."""


@dataclass(frozen=True, slots=True)
class ClientUpload:
    """What one client sent, decoded and validated."""

    client_id: str
    """The client that sent it."""

    round: int
    """The round that it was made for."""

    encoder: str
    """Fingerprint of the model that encoded the arrays."""

    arrays: Mapping[str, Rows]
    """Name → [n, *shape], or [m, *shape] for a shared array. Floating point, whatever the codec."""

    indices: Mapping[str, Array]
    """Name of a shared array → for each row its position in that array, int32 [n]; -1: the row has none."""

    class_id: Labels
    """int64 [n]."""

    weight: NDArray[np.float64]
    """How many samples each row stands for, float64 [n]. Positive."""

    domain: tuple[str, ...]
    """The domain of each row; "": none."""

    guidance_scale: NDArray[np.float64]
    """float64 [n]; NaN: the generator's own."""

    codec: str = ""
    """The codec that the client chose."""

    codec_error: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Name of an array → (largest absolute, relative RMS) error of the codec, as the client reports it."""

    bytes_by_codec: Mapping[str, int] = field(default_factory=dict)
    """Codec → size of the same upload, in bytes. Measured for the codec used, computed from shapes for the others."""

    prompts: tuple[Prompt, ...] = ()
    """With the codec text: the prompts that the server encodes; `arrays` is empty then."""

    def __len__(self) -> int:
        return len(self.class_id)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the server generates from: unique rows, held as an index into uploads, without copying them."""

    ids: tuple[str, ...]
    """Conditioning ids, one for each row, sorted by (class, id)."""

    class_id: Labels
    """int64 [n]."""

    weight: NDArray[np.float64]
    """How many samples each row stands for, float64 [n]."""

    domain: tuple[str, ...]
    """The domain of each row; "": none."""

    guidance_scale: NDArray[np.float64]
    """float64 [n]; NaN: the generator's own."""

    source: Labels
    """Position in `sources` of the upload that holds each row, int64 [n]."""

    row: Labels
    """Position of each row in that upload, int64 [n]: row i is row `row[i]` of `sources[source[i]]`."""

    clients: Labels
    """How many clients asked for each row, int64 [n]."""

    sources: Sequence[ClientUpload]
    """The uploads."""

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, name: str, index: Sequence[int]) -> list[Array | None]:
        """Array `name` of each row in `index`, each [*shape]; None for a row that lacks an optional or shared array."""
        gathered: list[Array | None] = []
        for position in index:
            upload, row = self.sources[int(self.source[position])], int(self.row[position])
            if name in upload.indices:
                row = int(upload.indices[name][row])
            array = upload.arrays.get(name)
            gathered.append(None if array is None or row < 0 else array[row])
        return gathered


class Aggregator(Protocol):
    """Maps the rows of many uploads to the rows to generate from. May also run at a client, on its own upload."""

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """Combine the uploads.

        Args:
            uploads: Validated, sorted by client id.
            generator: Fingerprint of the generator, which enters every conditioning id.
        """
