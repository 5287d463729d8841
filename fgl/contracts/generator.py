"""Generators: an encoder for the clients and a synthesizer for the server, which agree on a declaration.

Randomness, device and dtype are arguments, never module state: two runs in one process do not disturb each other.

Shape legend: n rows of an upload, s tokens, d width, h height, w width of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.prompts import Prompt


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of an upload. shape: without the row axis. shared: rows point into it by an index array, so that a
    row used by many (a negative prompt) crosses the wire once. max_abs: bound on any element's magnitude."""

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float16", "float32")
    shared: bool = False
    optional: bool = False
    max_abs: float = 1e4


@dataclass(frozen=True, slots=True)
class UploadSchema:
    """What a generator accepts, and so what an upload for it must hold. encoder: fingerprint of the model that must
    have produced the arrays. guided: arrays that a row must have where it is painted with a guidance scale above 1.
    guidance_scale: the highest for rows that state none of their own."""

    arrays: tuple[ArraySpec, ...]
    encoder: str
    guided: tuple[str, ...] = ()
    guidance_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One image to synthesize. conditioning: position in the Conditioning. draw: 0, and one more for each re-draw."""

    image_id: str
    conditioning: int
    conditioning_id: str
    class_id: int
    domain: str
    guidance_scale: float | None
    seed: int
    draw: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of batching, work and commit. Batches never cross shards."""

    index: int
    items: tuple[PlanItem, ...]


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """A batch of images. pixels: uint8 [b, h, w, 3]. rejected: positions of images that must not be kept; they are
    asked for again with the next draw of their item."""

    pixels: Pixels
    rejected: tuple[int, ...] = ()


class Encoder(Protocol):
    """The client side of a generator: tokenizer and text encoder, never the denoiser."""

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """(arrays, indices) as in ClientUpload, float32, in the order of the prompts."""

    def truncated(self, prompts: Sequence[Prompt]) -> int:
        """How many of the prompts have a text, or a negative one, that is longer than the encoder takes."""


class Synthesizer(Protocol):
    """The server side of a generator: the denoiser and the decoder."""

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        """Yield batches whose rows follow `shard.items`. progress: called with images done.

        An image must not depend on what else is in the shard, to the last bit: images move between shards when clients
        come or go."""

    def notes(self) -> Mapping[str, object]:
        """JSON for the report: what was found out on the way, such as the size of batches that memory had room for.
        Each shard keeps them as they are then; of the notes of many, lists are joined, and else the last count."""


class Generator(Protocol):
    """A foundation model in two halves that agree on a declaration."""

    def declare(self) -> UploadSchema:
        """Read from the model's configuration files; loads no weights."""

    def fingerprint(self) -> str:
        """sha256 over everything that determines a picture from a row: weights, scheduler, size, steps, guidance."""

    def encoding(self) -> Mapping[str, object]:
        """JSON: what determines the arrays of an upload from its prompts. Loads no weights."""

    def rounding(self, device: str) -> Mapping[str, object]:
        """JSON: what changes no picture but how its numbers are rounded: sizes of batches, number format, layout. A
        set is of one such value throughout."""

    def describe(self) -> Mapping[str, object]:
        """For the report: model, revision, licence, number of parameters. `image_size` must be there: (height, width)
        of the pictures, pixels."""

    def encoder(self, device: str) -> Encoder:
        """Load the client side."""

    def synthesizer(self, device: str) -> Synthesizer:
        """Load the server side."""
