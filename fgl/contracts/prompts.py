"""Prompt strategies: what a client says of its images, and what it has at hand to say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fgl.contracts.progress import NullProgress

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.dataset import ImageSet
    from fgl.contracts.progress import Progress

    Grammar = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of one client. weight: how many samples it stands for. guidance: overrides the generator's scale."""

    class_id: int
    text: str
    negative: str | None = None
    domain: str | None = None
    weight: float = 1.0
    guidance_scale: float | None = None


def _unheard(kind: str, count: int) -> None:
    """What a ClientContext without a listener does with notes."""


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What a prompt strategy sees. encode: the generator's client side, prompts → arrays (see `Encoder.encode`).
    seed: of this client and round, for strategies that sample. device: where a strategy's own models run. private: the
    folder for what the client keeps and nobody else sees, None where there is none; it may not exist yet. note: called
    with a kind and a count of what the client should know of, such as ("scrubbed_names", 3); totals lie in the private
    summary.json and may be shown, so a kind says nothing of the data itself. domains: all that any client may have,
    None where this one knows its own alone."""

    client_id: str
    images: ImageSet
    class_names: tuple[str, ...]
    encode: Callable[[Sequence[Prompt]], Mapping[str, Array]]
    seed: int
    progress: Progress = field(default_factory=NullProgress)
    device: str = "cpu"
    private: Path | None = None
    note: Callable[[str, int], None] = _unheard
    domains: tuple[str, ...] | None = None


class PromptStrategy(Protocol):
    """Turns a client's images into prompts. Runs at the client: it may look at the images.

    One that has a method `check(info: DatasetInfo) -> None` too is asked by it before a run begins. It raises FGLError
    where its options cannot work with the dataset's classes and domains; it opens no image and loads no weights. One
    that knows its texts without an image may have `texts(info: DatasetInfo) -> Iterable[tuple[str, str]]` (where a text
    stands, the text): they are held to the rules of the codec text before a run begins.

    One that has a method `grammar(class_names: Sequence[str], domains: Sequence[str]) -> Sequence[Grammar]` lets
    `fgl audit` look its embeddings up: each grammar has for each place of a text the phrases that can stand there
    (`Grammar` is Sequence[Sequence[str]]); a text is one phrase of each place, joined. It knows no client's data."""

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """At least one prompt for each class that the client holds."""


def spells(grammar: Grammar, text: str) -> bool:
    """Whether one phrase of each place, joined, is the text."""
    reached = {0}
    for place in grammar:
        reached = {at + len(one) for at in reached for one in place if text.startswith(one, at)}
    return len(text) in reached
