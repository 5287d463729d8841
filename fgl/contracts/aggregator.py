"""Aggregators: uploads of many clients become the rows that images are synthesized from.

Shape legend: n rows of an upload, s tokens, d width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.prompts import Prompt


class Rows(Protocol):
    """An array of an upload, rows first: a numpy array, or one whose rows are made when they are asked for. By number,
    slice or list; numpy.asarray makes them all."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class ClientUpload:
    """What one client sends, decoded and validated.

    arrays: name → [n, *shape], or [m, *shape] for a shared array, floating point whatever the codec. indices: name of a
    shared array → int32 [n], -1 for none. class_id: int64 [n]. weight: float64 [n], positive. domain: per row, "" for
    none. guidance_scale: float64 [n], NaN for the generator's own. codec: that the client chose. codec_error: array →
    (largest absolute, relative RMS) error of the codec, by the client's account. bytes_by_codec: codec → bytes of the
    same upload; its own codec's are measured, the others computed from shapes. prompts: with the codec text, what is
    to be encoded; there are no arrays then.
    """

    client_id: str
    round: int
    encoder: str
    arrays: Mapping[str, Rows]
    indices: Mapping[str, Array]
    class_id: Labels
    weight: NDArray[np.float64]
    domain: tuple[str, ...]
    guidance_scale: NDArray[np.float64]
    codec: str = ""
    codec_error: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bytes_by_codec: Mapping[str, int] = field(default_factory=dict)
    prompts: tuple[Prompt, ...] = ()

    def __len__(self) -> int:
        return len(self.class_id)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the server generates from: unique rows, as an index into uploads rather than a copy of them.

    ids: conditioning ids, one a row, sorted by (class, id). class_id: int64 [n]. weight: float64 [n]. domain: per row.
    guidance_scale: float64 [n], NaN for the generator's own. source, row: int64 [n]: row `row[i]` of
    `sources[source[i]]`. clients: how many clients asked for the row, int64 [n].
    """

    ids: tuple[str, ...]
    class_id: Labels
    weight: NDArray[np.float64]
    domain: tuple[str, ...]
    guidance_scale: NDArray[np.float64]
    source: Labels
    row: Labels
    clients: Labels
    sources: Sequence[ClientUpload]

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, name: str, index: Sequence[int]) -> list[Array | None]:
        """Array `name` of each asked row, each [*shape], None where a row has none (an optional or shared array)."""
        found: list[Array | None] = []
        for position in index:
            upload, row = self.sources[int(self.source[position])], int(self.row[position])
            if name in upload.indices:
                row = int(upload.indices[name][row])
            array = upload.arrays.get(name)
            found.append(None if array is None or row < 0 else array[row])
        return found


class Aggregator(Protocol):
    """Maps the rows of many uploads to the rows to generate from. May run at a client on its own upload too."""

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """uploads: validated, sorted by client id. generator: fingerprint, which enters every conditioning id."""
