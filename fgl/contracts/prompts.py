"""Prompt strategies: how a client describes its images, and what it can use to do so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fgl.contracts.progress import NullProgress

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.dataset import DatasetInfo, ImageSet
    from fgl.contracts.progress import Progress

Grammar = Sequence[Sequence[str]]
"""For each place of a text, the phrases that can stand there. A text is one phrase of each place, joined."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of one client."""

    class_id: int
    """Class of the images that it describes."""

    text: str
    """What the images should show."""

    negative: str | None = None
    """What they should not show. None: no negative prompt."""

    domain: str | None = None
    """Domain of the images, or None if the prompt states none."""

    weight: float = 1.0
    """How many samples it stands for. Positive."""

    guidance_scale: float | None = None
    """Overrides the generator's guidance scale. None: the generator's own."""


def _unheard(kind: str, count: int) -> None:
    """Discard a note: the default of `ClientContext.note`."""


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What a prompt strategy receives."""

    client_id: str
    """The client that it runs at."""

    images: ImageSet
    """The client's images."""

    class_names: tuple[str, ...]
    """Names of all classes of the dataset, in label order."""

    encode: Callable[[Sequence[Prompt]], Mapping[str, Array]]
    """The client side of the generator: prompts → arrays (see `Encoder.encode`)."""

    seed: int
    """Seed of this client and round, for strategies that draw at random."""

    progress: Progress = field(default_factory=NullProgress)
    """Where long-running work reports its progress."""

    device: str = "cpu"
    """Device for the strategy's own models."""

    private: Path | None = None
    """Folder for what the client keeps and nobody else sees; it may not exist yet. None: nothing can be kept."""

    note: Callable[[str, int], None] = _unheard
    """Call it with a kind and a count of what the client should know, such as ("scrubbed_names", 3). Totals are stored
    in the client's private summary.json and may be shown, so a kind must not reveal anything about the data."""

    domains: tuple[str, ...] | None = None
    """All domains that any client may have. None: this client knows only its own."""


class PromptStrategy(Protocol):
    """Turns a client's images into prompts. Runs at the client, so it may look at the images.

    It may have the methods of `SupportsCheck`, `SupportsTexts` and `SupportsGrammar` too.
    """

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """Return at least one prompt for each class that the client holds."""


@runtime_checkable
class SupportsCheck(Protocol):
    """A prompt strategy that can tell before a run starts that its options do not suit the data."""

    def check(self, info: DatasetInfo) -> None:
        """Raise FGLError if the options cannot work with the dataset's classes and domains. Opens no image and loads no
        weights."""


@runtime_checkable
class SupportsTexts(Protocol):
    """A prompt strategy that knows its texts without an image."""

    def texts(self, info: DatasetInfo) -> Iterable[tuple[str, str]]:
        """Yield (where a text stands, the text). They are checked against the rules of the codec text before a run
        starts."""


@runtime_checkable
class SupportsGrammar(Protocol):
    """A prompt strategy whose embeddings `fgl audit` can look up."""

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> Sequence[Grammar]:
        """The texts that it may write, which must not depend on any client's data."""


def spells(grammar: Grammar, text: str) -> bool:
    """Whether `text` is one phrase of each place of the grammar, joined."""
    reached = {0}
    for place in grammar:
        reached = {start + len(phrase) for start in reached for phrase in place if text.startswith(phrase, start)}
    return len(text) in reached
