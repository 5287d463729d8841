"""Upload filters: what a client does to its own upload before it is encoded for the wire.

Shapes: n rows of an upload, m rows of a shared array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fgl.contracts.progress import NullProgress
from fgl.errors import PolicyError, Problem

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.generator import UploadSchema
    from fgl.contracts.progress import Progress
    from fgl.contracts.prompt import Prompt
    from fgl.contracts.prompts import Prepared
    from fgl.privacy.cost import Cost


def _unheard(kind: str, count: int) -> None:
    """Discard a note: the default of `FilterContext.note`."""


def _no_ledger(what: str, level: str, cost: Cost) -> None:
    """The default of `FilterContext.spend`."""
    raise PolicyError(
        [Problem("upload.filters", what, "expected a client with a ledger: noise is not drawn where nobody counts it")]
    )


@dataclass(frozen=True, slots=True)
class FilterContext:
    """What an upload filter knows beside the upload."""

    client_id: str
    """The client that it runs at."""

    round: int
    """The round that the upload is for."""

    seed: int
    """Seed of this filter at this client and round; another one for each place in the chain. It follows from the run's
    seed, which the server knows: noise that is to protect anybody must come from a source of its own, such as
    `secrets` or `os.urandom`."""

    class_names: tuple[str, ...]
    """Names of all classes of the dataset, in label order."""

    declaration: UploadSchema | None = None
    """What the generator accepts: names, shapes and bounds of the arrays. None with the codec text, with which there
    are no arrays."""

    private: Path | None = None
    """Folder for what the client keeps and nobody else sees; it may not exist yet. None: nothing can be kept."""

    device: str = "cpu"
    """Device for the filter's own models."""

    progress: Progress = field(default_factory=NullProgress)
    """Where long-running work reports its progress."""

    note: Callable[[str, int], None] = _unheard
    """Call it with a kind and a count of what the client should know, such as ("rows_clipped", 3). Totals are stored in
    the client's private summary.json and may be shown, so a kind must not reveal anything about the data."""

    spend: Callable[[str, str, Cost], None] = _no_ledger
    """For a filter that provides "noise" and must be the first of the chain. Call it with what is noised in words, the
    level ("image" or "client") and the price of the noise that was drawn. The client's ledger records it before the
    upload leaves, or refuses the upload. Raises PolicyError where there is no ledger."""

    feature_norm: float | None = None
    """Largest L2 norm that a feature vector can have, where the generator clips them (`generator.max_norm`)."""


class UploadFilter(Protocol):
    """Changes rows, arrays or weights of one client's upload. Runs at the client alone: what the server encodes for
    itself (the class list, an audit's dictionary, the texts of the codec text) never passes through it."""

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        """Return what is to be sent in place of what is given; the given arrays are not written to.

        Args:
            arrays: Name → float32 [n, *shape]; [m, *shape] for a shared array. Empty with the codec text.
            indices: Name of a shared array → for each prompt its row in that array, int32 [n]; -1: none.
            prompts: One for each row: its class, domain, weight and guidance scale. Texts stay at the client, unless
                the codec is text.
            context: Whose upload it is, and what the filter may use.

        The number of rows may change, as long as arrays and prompts change together. At least one row must be left.
        """

    def describe(self) -> Mapping[str, object]:
        """JSON for the report: what it does, in the terms of its field, such as a norm or a noise scale. It is asked
        at the server, and knows the options alone."""
