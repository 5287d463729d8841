"""Generators: an encoder for the clients and a synthesizer for the server, which agree on an upload schema.

Randomness, device and dtype are arguments, never module state: two runs in one process do not affect each other.

Shapes: b images of a batch, n rows of an upload, h height and w width of an image, t steps of a noise schedule.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fgl.contracts.product import ImageFeatures as ImageFeatures
from fgl.contracts.product import Product as Product
from fgl.contracts.product import SupportsProduct as SupportsProduct

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Array, Pixels
    from fgl.contracts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of an upload."""

    name: str
    """Name of the array in the upload."""

    shape: tuple[int, ...]
    """Shape of one row."""

    dtypes: tuple[str, ...] = ("float16", "float32")
    """Accepted dtypes."""

    shared: bool = False
    """Whether rows point into it by an index array, so that a row used by many (a negative prompt) is sent once."""

    optional: bool = False
    """Whether an upload may lack it."""

    max_abs: float = 1e4
    """Largest magnitude that an element may have."""


@dataclass(frozen=True, slots=True)
class UploadSchema:
    """What a generator accepts, and therefore what an upload for it must hold."""

    arrays: tuple[ArraySpec, ...]
    """The arrays of an upload."""

    encoder: str
    """Fingerprint of the model that must have produced the arrays."""

    guided: tuple[str, ...] = ()
    """Names of arrays that a row must have if it is synthesized with a guidance scale above 1."""

    guidance_scale: float = 1.0
    """The highest guidance scale for rows that state none of their own."""


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One image to synthesize."""

    image_id: str
    """Identity of the image: independent of batch, shard and order."""

    conditioning: int
    """Position of its row in the Conditioning."""

    conditioning_id: str
    """Id of that row (see `Conditioning.ids`)."""

    class_id: int
    """Its class."""

    domain: str
    """Its domain; "": none."""

    guidance_scale: float | None
    """None: the generator's own."""

    seed: int
    """Seed of the image's noise."""

    draw: int = 0
    """How often the image has been drawn again, after it was rejected."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of batching, work and commit. A batch never spans two shards."""

    index: int
    """Number of the shard, from 0."""

    items: tuple[PlanItem, ...]
    """Its images, in order."""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """A batch of images."""

    pixels: Pixels
    """uint8 [b, h, w, 3]."""

    rejected: tuple[int, ...] = ()
    """Positions of images that must not be kept; they are requested again, with the next draw of their item."""

    blanked: InitVar[tuple[int, ...] | None] = None

    def __post_init__(self, blanked: tuple[int, ...] | None) -> None:
        if blanked is not None:
            said = "ImageBatch(blanked=…) is called rejected since fgl 0.2; the old name goes with fgl 0.3"
            warnings.warn(said, DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "rejected", blanked)


class Encoder(Protocol):
    """The client side of a generator: tokenizer and text encoder, never the denoiser."""

    def encode(self, prompts: Sequence[Prompt]) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """(arrays, indices) as in ClientUpload, float32, with rows in the order of the prompts."""

    def truncated(self, prompts: Sequence[Prompt]) -> int:
        """How many of the prompts have a text or a negative text that is longer than the encoder accepts."""


class Synthesizer(Protocol):
    """The server side of a generator: the denoiser and the decoder."""

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        """Yield batches whose images follow the order of `shard.items`.

        An image must not depend, to the last bit, on the rest of its shard: images move between shards when clients
        join or leave.

        Args:
            shard: What to synthesize.
            conditioning: The rows that its items point to.
            progress: Called with the number of images that have been finished since the last call.
        """

    def notes(self) -> Mapping[str, object]:
        """JSON for the report: what was learned along the way, such as the batch size that fits in memory.

        Each shard stores the notes of its time. In the report, lists of all shards are joined; of other values the
        last one counts.
        """


class Generator(Protocol):
    """A foundation model in two halves that agree on an upload schema."""

    def declare(self) -> UploadSchema:
        """The upload schema, read from the model's configuration files. Loads no weights."""

    def fingerprint(self) -> str:
        """sha256 over everything that determines an image from a row: weights, scheduler, size, steps, guidance."""

    def encoding(self) -> Mapping[str, object]:
        """JSON: everything that determines the arrays of an upload from its prompts. Loads no weights."""

    def rounding(self, device: str) -> Mapping[str, object]:
        """JSON: what affects only how an image's numbers are rounded: batch sizes, number format, memory layout. One
        synthetic set has the same value throughout."""

    def describe(self) -> Mapping[str, object]:
        """JSON for the report: model, revision, license, number of parameters. It must hold `image_size`: (height,
        width) of the images, in pixels."""

    def encoder(self, device: str) -> Encoder:
        """Load the client side."""

    def synthesizer(self, device: str) -> Synthesizer:
        """Load the server side."""


class Denoiser(Protocol):
    """A generator's denoiser with the encoder and decoder of images around it, for what learns from images (prompts,
    adapters) and for samplers of one's own.

    Tensors are those of the generator's own library: torch for the built-in generators. All weights are frozen until
    the caller says otherwise.
    """

    module: Any
    """The network that denoises, in float32, as torch.nn.Module."""

    timesteps: int
    """t: the steps of the noise schedule that it was trained on, from 0, nearly an image, to t - 1, nearly noise."""

    def latents(self, pixels: Pixels) -> Any:
        """What the denoiser sees of images: uint8 [b, h, w, 3] at `image_size` -> float32 [b, ...], without a gradient.

        A row does not depend on the other images, but for rounding.
        """

    def loss(self, latents: Any, arrays: Mapping[str, Any], rng: Any, timesteps: Any | None = None) -> Any:
        """The denoising loss that it was trained with, of each image: float32 [b], with gradients to `arrays` and to
        weights of `module` that are not frozen.

        Args:
            latents: As from `latents`, [b, ...].
            arrays: What each image is conditioned on: by name of the upload schema, float tensors [b, *shape]. Arrays
                that are only for guidance (negative ones) are ignored.
            rng: The source of the noise and of timesteps: a torch.Generator on the CPU, so that every device draws the
                same. Equal states give equal draws.
            timesteps: int64 [b], from 0 to t - 1. None: drawn, spread evenly over the batch.
        """

    signal: Any
    """How much of the latents is left at each step, float32 [t]: noisy = signal * latents + (1 - signal²)^½ * noise."""

    def predict(self, noisy: Any, timesteps: Any, arrays: Mapping[str, Any]) -> Any:
        """The latents that the denoiser makes out in noisy ones: float32 [b, ...]. Samplers are built on it.

        Args:
            noisy: [b, ...], noisy as `signal` says.
            timesteps: int64 [b], from 0 to t - 1.
            arrays: As for `loss`.
        """

    def pixels(self, latents: Any) -> Pixels:
        """The images of latents: [b, ...] -> uint8 [b, h, w, 3] at `image_size`. What `latents` lost stays lost."""

    def parameters(self) -> int:
        """Number of weights that were loaded, of the denoiser and of the encoder and decoder of images."""

    def size_bytes(self) -> int:
        """Bytes of memory that these weights take."""


@runtime_checkable
class SupportsDenoiser(Protocol):
    """A generator whose denoiser can be trained, or trained against."""

    def denoiser(self, device: str) -> Denoiser:
        """Load the denoiser and the encoder of images. Never called for a run that only generates."""


class WordVectors(Protocol):
    """A generator's text encoder from the input embeddings of one word in each text on, for what learns words."""

    vectors: Mapping[str, Any]
    """Name of a text encoder -> the input embeddings of each text's word: float32 [n, k, d], with k the most tokens of
    any of the words; rows of shorter words are filled with zeros that have no effect."""

    def encode(self, vectors: Mapping[str, Any], rows: Any) -> Mapping[str, Any]:
        """The arrays of an upload (without negative ones) for texts whose word is replaced, with gradients to vectors.

        Args:
            vectors: As `vectors`, for all n texts.
            rows: int64 [b]: which of the texts.

        Returns: name of the upload schema -> float32 [b, *shape].
        """


@runtime_checkable
class SupportsWordVectors(Protocol):
    """A generator whose text encoder can be learned through, with its weights frozen."""

    def word_vectors(self, texts: Sequence[str], words: Sequence[str], device: str) -> WordVectors:
        """Load the text encoder. words: for each text, a part of it. Raises FGLError if a word is not in its text, or
        is cut off."""


@runtime_checkable
class SupportsVariation(Protocol):
    """A generator that makes variations of images: image to image, instead of from noise."""

    def varying(self, device: str, original: Callable[[PlanItem], Pixels], strength: float) -> Synthesizer:
        """Load the server side as `Generator.synthesizer` does, for images that begin as others.

        An image follows, to the last bit, from its row, its seed, its original and the strength.

        Args:
            device: Where to generate.
            original: Item -> uint8 [h, w, 3], the image that it varies. Called again for an item that is drawn again.
            strength: How far an image may depart from its original, above 0 and at most 1: share of the noise
                schedule that is gone back and denoised again.
        """


@dataclass(frozen=True, slots=True)
class Footprint:
    """How much of a model has to be loaded."""

    parts: tuple[str, ...]
    """Names of the parts that have weights, such as "text_encoder"."""

    parameters: int
    """Number of weights in these parts."""

    size_bytes: int
    """Bytes of the files that hold them."""


@runtime_checkable
class SupportsFootprint(Protocol):
    """A generator that can tell what its halves weigh; the report says what clients had to load."""

    def footprint(self, whole: bool) -> Footprint:
        """What `encoder` loads, or with `whole` all of the model. Reads headers of files, and loads no weights."""
