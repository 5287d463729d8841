"""The values that pass between the parts. All frozen, none imports more than the standard library.

Shape legend: n rows of an upload, s tokens, d width, h height, w width of an image, k client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Array = NDArray[Any]
    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]

API_VERSION = 2
API_CHANGES: Mapping[int, Mapping[str, str]] = {
    2: {
        "generator": "Synthesizer.synthesize yields Painted and no arrays, Synthesizer has notes(), Encoder has "
        "truncated(), Generator has encoding() and rounding()",
        "classifier": "Classifier has check() and initial(), fit keeps to FitContext.checkpoint and calls "
        "FitContext.hook, TrainedClassifier has trained(), features() and logits()",
        "algorithm": "Algorithm has start(), broadcast(), local(), reply() and aggregate() in place of run()",
        "aggregator": "arrays of an upload are Rows: numpy.asarray(array) makes all rows of one",
        "federation": "the reason of a Failure crosses to the server: no message of an error that a client has not "
        "cleared belongs in it",
    }
}
"""Version of the interface → family → what plugins of that family have to do otherwise. Families that are not named
take plugins of the version before."""

Which = Literal["selected", "last"]

FAMILIES = {
    "dataset": "fgl_datasets",
    "partition": "fgl_partitioners",
    "prompt_strategy": "fgl_prompt_strategies",
    "aggregator": "fgl_aggregators",
    "generator": "fgl_generators",
    "classifier": "fgl_classifiers",
    "features": "fgl_feature_spaces",
    "algorithm": "fgl_algorithms",
    "federation": "fgl_federations",
    "executor": "fgl_executors",
}
"""Configuration key of each plugin family, and the hook that registers its members."""


@dataclass(frozen=True, slots=True)
class Component:
    """What a plugin registers: light, so that listing plugins imports none of them.

    name: what the configuration selects. target: "module:Class", imported when selected and called with its options.
    options: "module:Class", a subclass of `fgl.Options`, imported when the configuration is checked; None where there
    are none. defaults: values that replace those of the options class, so that one class can ship under several names
    (`tiny` is `stable-diffusion` with another folder). summary: one line. extras: pip extras that must be installed.
    modules: top-level modules that the extras bring, to tell whether they are there. bound: option → options whose
    defaults hold for its own default alone (a model's commit is no other model's). needs: what the dataset must have,
    of "domains", "public"; checked before anything runs. continued: of a classifier, options that are others where
    clients train a model that is trained already (the rounds after the one-shot model), unless `rounds.local` names
    them; a rate that is right from scratch undoes such a model.
    """

    name: str
    target: str
    options: str | None = None
    summary: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    bound: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    continued: Mapping[str, Any] = field(default_factory=dict)
    api_version: int = API_VERSION


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that a component's options name (see `Options.models`).

    model: Hub id, or a folder. revision: branch, tag or commit, None where it is locked on the first pull. mirrors: Hub
    ids that hold the same files, for when the Hub no longer has `model`. files: patterns of all files that are needed.
    client_files: of those that a client needs. licence: as its source states it.
    """

    model: str
    revision: str | None = None
    mirrors: tuple[str, ...] = ()
    files: tuple[str, ...] = ("*",)
    client_files: tuple[str, ...] = ()
    licence: str = "not stated"


class ImageSet(Protocol):
    """Labelled images that are decoded when asked for."""

    @property
    def labels(self) -> Labels:
        """int64 [n], each an index into the dataset's class names."""

    @property
    def domains(self) -> Sequence[str] | None:
        """The domain of each sample, or None where the dataset has none."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Decode one sample to RGB. Raises BadImageError, which names it."""

    def name(self, index: int) -> str:
        """What a person would call this sample: a path, or a file and row."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Some samples of an ImageSet, by position."""

    base: ImageSet
    indices: Sequence[int]

    @property
    def labels(self) -> Labels:
        return self.base.labels[list(self.indices)]

    @property
    def domains(self) -> Sequence[str] | None:
        domains = self.base.domains
        return None if domains is None else [domains[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        return self.base.image(self.indices[index])

    def name(self, index: int) -> str:
        return self.base.name(self.indices[index])


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a dataset says of itself.

    class_names: in label order. domains: sorted, empty where there are none. digest: sha256 over everything that
    determines its samples. skipped: unreadable images left out, by name (only with skip_bad_images). notes: what a
    person should know of how it was read, in a sentence each: files that were passed over, images that come out dark.
    """

    name: str
    class_names: tuple[str, ...]
    domains: tuple[str, ...]
    digest: str
    licence: str = "not stated"
    attribution: str = ""
    source: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of one client. weight: how many samples it stands for. guidance: overrides the generator's scale."""

    class_id: int
    text: str
    negative: str | None = None
    domain: str | None = None
    weight: float = 1.0
    guidance_scale: float | None = None


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
class Declaration:
    """What a generator accepts, and so what an upload for it must hold. encoder: fingerprint of the model that must
    have produced the arrays. guided: arrays that a row must have where it is painted with a guidance scale above 1.
    guidance_scale: the highest for rows that state none of their own."""

    arrays: tuple[ArraySpec, ...]
    encoder: str
    guided: tuple[str, ...] = ()
    guidance_scale: float = 1.0


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
class LabelledPixels:
    """Decoded images of one size: uint8 [n, h, w, 3] and int64 [n]."""

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Painted:
    """A batch of images. pixels: uint8 [b, h, w, 3]. blanked: positions of images that must not be kept; they are asked
    for again with the next draw of their item."""

    pixels: Pixels
    blanked: tuple[int, ...] = ()


class Progress(Protocol):
    """Where long work reports to. The default swallows everything."""

    def track(self, what: str, total: int, unit: str = "images") -> ProgressTask: ...


@runtime_checkable
class Announcing(Protocol):
    """Progress that has a place for headings; optional."""

    def heading(self, text: str) -> None: ...


class ProgressTask(Protocol):
    """A context manager: `with progress.track("synthesize", 2000) as task: task.advance(50)`."""

    def __enter__(self) -> ProgressTask: ...

    def __exit__(self, *error: object) -> None: ...

    def advance(self, count: int = 1, note: str = "") -> None: ...


class Silent:
    """Progress that says nothing."""

    def track(self, what: str, total: int, unit: str = "images") -> Silent:
        return self

    def heading(self, text: str) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, count: int = 1, note: str = "") -> None:
        pass


class TrainedClassifier(Protocol):
    """What `Classifier.fit` returns."""

    def predict(self, pixels: Pixels, which: Which, progress: Progress) -> Labels:
        """uint8 [n, h, w, 3] → class ids, int64 [n]."""

    def logits(self, pixels: Pixels, which: Which, progress: Progress) -> Array:
        """uint8 [n, h, w, 3] → what softmax makes probabilities of, float32 [n, classes]: `fgl audit` reads it."""

    def state(self, which: Which) -> Mapping[str, Array]:
        """Parameters and buffers by name, for averaging and for starting again."""

    def trained(self) -> Sequence[str]:
        """Names in `state` of the arrays that an optimizer changes; the others are buffers."""

    def history(self) -> Sequence[Mapping[str, float]]:
        """One entry an epoch: epoch, loss, and validation top-1 where there was a validation set."""

    def features(self, pixels: Pixels, which: Which, progress: Progress) -> Array:
        """uint8 [n, h, w, 3] → what the last layer reads, float32 [n, d]: where `trained` features compare images."""

    def size_bytes(self) -> int:
        """What FedAvg would send one way: parameters and buffers in their own dtype."""

    def save(self, folder: Path, which: Which) -> None:
        """Hugging Face format, labels named."""


class TrainingHook(Protocol):
    """What a federated algorithm adds to each optimizer step of `Classifier.fit`. Tensors and modules are those of the
    classifier's own library (torch for the built-in ones). An object of its own for each fit."""

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        """A scalar tensor to add to the loss, or None. images: as the model takes them, [n, 3, side, side]; logits
        [n, classes]; labels int64 [n]."""

    def gradients(self, model: Any, lr: float) -> None:
        """After the backward pass and before the optimizer's step: `parameter.grad` may be changed in place. lr: of
        this step."""


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
    progress: Progress = field(default_factory=Silent)
    device: str = "cpu"
    private: Path | None = None
    note: Callable[[str, int], None] = _unheard
    domains: tuple[str, ...] | None = None


class Checkpoint(Protocol):
    """Where unfinished training is kept, so that a killed run goes on from its last epoch."""

    def load(self) -> Mapping[str, Array] | None:
        """What was saved last, None where nothing was, or where it is of other inputs or damaged."""

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Replace what was saved, at once or not at all."""

    def child(self, name: str) -> Checkpoint:
        """A place of its own for a part of this work."""


@dataclass(frozen=True, slots=True)
class FitContext:
    """How to train. start: a state to go on from (see `TrainedClassifier.state`), None to start as the options say.
    epochs: overrides the options'. on_step: called after each optimizer step with (step, loss). hook: what a federated
    algorithm adds to a step (see `TrainingHook`). checkpoint: where to keep unfinished work; None keeps none. What was
    saved there is of the same data, options and context: a fit that finds something goes on from it and gives the same
    result."""

    class_names: tuple[str, ...]
    seed: int
    device: str
    progress: Progress = field(default_factory=Silent)
    start: Mapping[str, Array] | None = None
    epochs: int | None = None
    on_step: Callable[[int, float], None] | None = None
    label: str = "train"
    checkpoint: Checkpoint | None = None
    hook: TrainingHook | None = None


@dataclass(frozen=True, slots=True)
class GlobalState:
    """What the server of a federated training holds between two rounds.

    model: parameters and buffers by name (see `TrainedClassifier.state`). trained: names of those that an optimizer
    changes; the others are buffers, such as BatchNorm's running statistics. own: the algorithm's arrays beside the
    model, such as moments or a control variate.
    """

    model: Mapping[str, Array]
    trained: tuple[str, ...]
    own: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalJob:
    """What a client's part of a round is given.

    round: from 1. start: the global model. extra: what `Algorithm.broadcast` sent beside it. kept: what this client
    kept in the last round that it took part in, empty before. samples: images it trains on. fit: trains from `start`
    over the local epochs, with a hook where one is given; may be called more than once.
    """

    client_id: str
    round: int
    start: Mapping[str, Array]
    extra: Mapping[str, Array]
    kept: Mapping[str, Array]
    samples: int
    fit: Callable[[TrainingHook | None], TrainedClassifier]


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What a client's part of a round yields. model: its state, sent up. extra: arrays that are sent up beside it.
    kept: arrays that stay at the client until its next round. loss: mean over the last local epoch."""

    client_id: str
    samples: int
    model: Mapping[str, Array]
    extra: Mapping[str, Array] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class StageContext:
    """What lifecycle hooks are told. seconds and outputs are filled when the stage has finished."""

    run_dir: str
    stage: str
    seconds: float = 0.0
    reused: bool = False
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A client that did not answer a federation's call, and why, as far as the server may know: the message of an
    FGLError of the task, which has been cleared for that, or words of the federation's own."""

    client_id: str
    reason: str
