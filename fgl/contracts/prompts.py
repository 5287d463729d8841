"""Prompt strategies: how a client describes its images, and what it can use to do so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fgl.contracts.progress import NullProgress
from fgl.contracts.prompt import Prompt as Prompt

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.dataset import DatasetInfo, ImageSet
    from fgl.contracts.generator import Generator, UploadSchema
    from fgl.contracts.progress import Progress

Grammar = Sequence[Sequence[str]]
"""For each place of a text, the phrases that can stand there. A text is one phrase of each place, joined."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Prompts with the arrays that go with them: what a client is about to send.

    A prompt strategy returns it in place of a list of prompts if its arrays are not what the text encoder makes of the
    texts: averaged, learned or measured ones. An upload filter takes one and returns one.
    """

    prompts: Sequence[Prompt]
    """One for each row: class, domain, weight and guidance scale leave the client; the texts do not."""

    arrays: Mapping[str, Array]
    """Name in the `UploadSchema` → [n, *shape], float32 or what numpy casts to it; [m, *shape] for a shared array.
    Row i belongs to `prompts[i]`."""

    indices: Mapping[str, Array] = field(default_factory=dict)
    """Name of a shared array → for each prompt its row in that array, int32 [n]; -1: none, if the array is optional."""


class Encoded(dict[str, Any]):
    """Arrays by name, float32, as `Encoder.encode` returns them, with the indices of shared arrays."""

    indices: Mapping[str, Array]
    """Name of a shared array → for each prompt its row in that array, int32 [n]; -1: none."""

    def __init__(self, arrays: Mapping[str, Array], indices: Mapping[str, Array] | None = None) -> None:
        super().__init__(arrays)
        self.indices = dict(indices or {})


def _unheard(kind: str, count: int) -> None:
    """Discard a note: the default of `ClientContext.note`."""


def _no_generator() -> Generator:
    """The default of `ClientContext.generator`."""
    raise LookupError("this context has no generator")


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What a prompt strategy receives."""

    client_id: str
    """The client that it runs at."""

    images: ImageSet
    """The client's images: `images.image(i)` decodes one, a PIL image in RGB, at its stored size; `images.labels` are
    class ids, int64 [n]; `images.domains` names or None."""

    class_names: tuple[str, ...]
    """What prompts call the classes of the dataset, in label order (`DatasetInfo.names_in_prompts`)."""

    encode: Callable[[Sequence[Prompt]], Encoded]
    """The client side of the generator: prompts → arrays (see `Encoder.encode`), with `indices` for shared ones."""

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

    declaration: UploadSchema | None = None
    """What the generator accepts: names, shapes and bounds of the arrays of a `Prepared`. None with the codec text,
    which cannot send arrays."""

    generator_name: str = ""
    """The name that selects the run's generator in the configuration."""

    generator: Callable[[], Generator] = _no_generator
    """The run's generator, whole. Only for a component that states it: `Component(client_needs=("generator",))`; then
    the client pulls the denoiser and the decoder as well."""

    label_names: tuple[str, ...] | None = None
    """What the data, reports and files of a user call the classes, in label order. None: as in `class_names`."""


class PromptStrategy(Protocol):
    """Turns a client's images into prompts. Runs at the client, so it may look at the images.

    It may have the methods of `SupportsCheck`, `SupportsTexts` and `SupportsGrammar` too.
    """

    def prompts(self, context: ClientContext) -> Sequence[Prompt] | Prepared:
        """Describe the client's images.

        Return at least one prompt for each class that the client holds and none for others; the weights of a class sum
        to the samples that it holds (unless the component provides "private_counts"). Numbers may be numpy's. To send
        arrays other than the texts' encodings, return a `Prepared`; the component then provides "arrays".
        """


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
