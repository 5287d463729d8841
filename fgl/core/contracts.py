"""What a plugin of each family must be. A class that a `Component.target` names is called with its options alone.

Randomness, device and dtype are arguments, never module state: two runs in one process do not disturb each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from fgl.core.types import TrainedClassifier

if TYPE_CHECKING:
    from fgl.core.preparing import Preparation
    from fgl.core.types import (
        Array,
        ClientContext,
        ClientUpload,
        Conditioning,
        DatasetInfo,
        Declaration,
        Failure,
        FitContext,
        GlobalState,
        ImageSet,
        LabelledPixels,
        Labels,
        LocalJob,
        LocalUpdate,
        Painted,
        Pixels,
        Progress,
        Prompt,
        Shard,
    )


class Dataset(Protocol):
    """Labelled images in up to three splits: `train` (what clients hold), `test` (real, touched once), and `public`
    (what a generator was trained on, where the dataset knows it)."""

    def info(self) -> DatasetInfo:
        """Raises DataError where there is nothing to read."""

    def split(self, name: str) -> ImageSet | None:
        """The split `name`, or None where the dataset has no such split."""


class Partitioner(Protocol):
    """Divides the training samples among clients."""

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sample positions, disjoint, each list sorted. labels: int64 [n]; domains: n names or None.

        Raises PartitionError, which says which option to change."""


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
    ) -> Iterator[Painted]:
        """Yield batches whose rows follow `shard.items`. progress: called with images done.

        An image must not depend on what else is in the shard, to the last bit: images move between shards when clients
        come or go."""

    def notes(self) -> Mapping[str, object]:
        """JSON for the report: what was found out on the way, such as the size of batches that memory had room for.
        Each shard keeps them as they are then; of the notes of many, lists are joined, and else the last count."""


class Generator(Protocol):
    """A foundation model in two halves that agree on a declaration."""

    def declare(self) -> Declaration:
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


class Aggregator(Protocol):
    """Maps the rows of many uploads to the rows to generate from. May run at a client on its own upload too."""

    def aggregate(self, uploads: Sequence[ClientUpload], generator: str) -> Conditioning:
        """uploads: validated, sorted by client id. generator: fingerprint, which enters every conditioning id."""


class Classifier(Protocol):
    """Trains an image classifier."""

    def check(self, context: FitContext) -> None:
        """Raise ModelError where no such classifier can be built. Called before anything else is computed."""

    def preparation(self, made: tuple[int, int]) -> Preparation:
        """What real images are to become before they are handed to `fit` and `predict`. made: (height, width) of
        synthetic images. What `TrainedClassifier.save` exports must do the same to an image that is tested. Classifiers
        without this method get the middle square of real images, at the smaller side of `made`."""

    def fit(self, train: LabelledPixels, validation: LabelledPixels | None, context: FitContext) -> TrainedClassifier:
        """Train on `train`; select the checkpoint by top-1 on `validation` (the last one where it is None). Calls
        `context.hook` at each step. Raises DivergedError where the loss is no number any more."""

    def initial(self, context: FitContext) -> TrainedClassifier:
        """The model that `fit` would start from without `context.start`: random by `context.seed`, or pretrained."""

    def restore(self, state: Mapping[str, Array], context: FitContext) -> TrainedClassifier:
        """A model with this state, untrained."""


class Extractor(Protocol):
    """A feature space that is ready: images to points, and how two sets of points compare. m images, n points, d."""

    def describe(self) -> Mapping[str, object]:
        """JSON for the report: whose features these are. `space`, `model`, `licence`, `dimensions`, and `commit` or
        `digest` of the weights must be there (both None where there are no weights)."""

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """uint8 [m, h, w, 3] → float32 [m, d]. An image's features do not depend on what stands beside it."""

    def nearest(self, points: Array, others: Array) -> tuple[Array, Labels]:
        """(distance to the nearest of `others`, its position) for each of `points`: float64 [n], int64 [n]."""

    def compare(self, reference: Array, images: Array, seed: int) -> Mapping[str, object]:
        """JSON: how the points `images` compare with real points, `reference`. `density`, `coverage`, `precision`,
        `recall`, `kid`, `kid_se`, `fid`, `k`, and `why`: name → reason for those that are None. seed: of what is
        drawn at random."""


class FeatureSpace(Protocol):
    """A stated model whose features say how near two images are."""

    def learns(self) -> bool:
        """Whether `learn` must be called with real images first."""

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        """What the space consists of where no model of it exists yet, as named arrays for `extractor`: they may cross
        to clients. Not called where the space does not learn."""

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Extractor:
        """state: what `learn` returned, empty where the space does not learn. classifier: the run's, for spaces that
        are made of it. Raises ModelError where there is no such model."""


class Algorithm(Protocol):
    """A federated algorithm that trains by exchanging models: FedAvg and its kin. Holds no state of its own between
    calls: the server's is in `GlobalState`, a client's in what it kept, and each may be in another process."""

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        """The server's state before the first round. trained: names of the arrays that optimizers change."""

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        """Arrays that go down to each client of a round beside the model."""

    def local(self, job: LocalJob) -> LocalUpdate:
        """The client's step. Runs at the client."""

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the float32 arrays that a client must send up beside its model: what comes is checked
        against this."""

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        """The server's step. updates: at least one, in order of client id. clients: how many there are in all, those
        that took no part in this round among them."""


class Federation(Protocol):
    """Transport and nothing else: bytes go to clients, bytes or failures come back."""

    def call(
        self, client_ids: Sequence[str], task: str, payload: Callable[[str], bytes], progress: Progress
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Run `task` at each client. payload: what to send to a client. Replies come in the order of the ids.

        Of what a client's task raises, only the message of an FGLError may cross, as the reason of a Failure: the task
        has cleared it. Everything else, its output included, stays in the client's own log.

        Where the clients are simulated, their tasks run inside `fgl.core.boundary.simulated()`; on the machine of a
        site, inside `fgl.core.policy.at_site(policy)`, with what its owner allows. Outside of both no task answers."""


class Executor(Protocol):
    """Fills shards. A shard is handed to `work` whole; `work` paints it, and its commit may end after that."""

    def device(self, asked: str) -> str:
        """The device that `asked` means here ("auto": the best there is). Raises ModelError where it is not there."""

    def environment(self) -> Mapping[str, object]:
        """Versions, threads and hardware: what a figure depends on beside the configuration."""

    def run(self, shards: Sequence[Shard], work: Callable[[Shard], None]) -> None:
        """Call `work` on every shard, in any order, and return when all are done."""


__all__ = [
    "Aggregator",
    "Algorithm",
    "Classifier",
    "Dataset",
    "Encoder",
    "Executor",
    "Extractor",
    "FeatureSpace",
    "Federation",
    "Generator",
    "Partitioner",
    "PromptStrategy",
    "Synthesizer",
    "TrainedClassifier",
]
