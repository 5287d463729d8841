"""Adapting a generator to images that it does not know: its denoiser learns, or an adapter of it.

Built like `Classifier`, so that federated algorithms can drive it: an adapter has an initial state, trains from a state
with a hook, and gives its state as named arrays.

Shapes: n images, m captions, h height and w width of the generator's images, b images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from fgl.contracts.progress import NullProgress

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.classifier import Checkpoint, CheckpointName, TrainingHook
    from fgl.contracts.generator import Synthesizer
    from fgl.contracts.progress import Progress


AdapterKind = Literal["lora", "full", "scratch"]
"""What is trained: low-rank adapters beside frozen weights, all weights, or all weights from random ones."""


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What is trained, and how. None: the generator's own choice, which `Adaptation.settings` states."""

    kind: AdapterKind
    """What is trained."""

    rank: int = 8
    """Rank of the low-rank adapters; of no meaning for the other kinds."""

    factors: Literal["both", "up"] = "both"
    """Factors of a low-rank adapter that are trained. up: the other one is drawn once, the same for everybody,
    so that an average of adapters is the average of what they do (Sun et al. 2024, arXiv 2403.12313)."""

    layers: Literal["attention", "all"] = "all"
    """Layers that are trained, or have an adapter: those of attention, or all."""

    lr: float | None = None
    """Peak learning rate of AdamW."""

    batch_size: int | None = None
    """Images of an optimizer step."""

    weight_decay: float = 0.0
    """AdamW's, decoupled."""

    ema: float = 0.99
    """Decay of the moving average of the weights, which is what counts; 0: the weights themselves."""

    mirror: bool = True
    """Whether each image is trained on mirrored as often as not."""


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """Images, and what may be said of each of them."""

    pixels: Pixels
    """uint8 [n, h, w, 3], at `Adaptation.image_size`."""

    labels: Labels
    """Class ids, int64 [n]."""

    arrays: Mapping[str, Array]
    """The captions as the generator's encoder gives them, without what only guidance needs: float32 [m, *shape] by name
    of the upload schema."""

    groups: Labels
    """int64 [n]: which of `choices` each image belongs to."""

    choices: Sequence[Labels]
    """For each group, the captions that one is drawn from whenever an image of it is trained on: int64 [k], k >= 1."""

    weights: Array
    """float64 [m]: how often a caption is drawn, relative to the others of its group. Positive."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class AdaptContext:
    """How long to train, from where, and who is told. Of `epochs`, `steps` and `minutes` the first to be reached ends
    it, and at least one must be given."""

    seed: int
    """Seed of everything that is drawn at random."""

    device: str
    """Device to train on, such as "cpu" or "cuda:0"."""

    progress: Progress = field(default_factory=NullProgress)
    """Where training reports its progress."""

    label: str = "adapt"
    """Name of this training in progress displays."""

    epochs: int | None = None
    """Passes over the images."""

    steps: int | None = None
    """Optimizer steps."""

    minutes: float | None = None
    """Minutes of training, summed over restarts."""

    evaluate_every: int | None = None
    """Steps from one entry of the history, with its checkpoint and held-out loss, to the next. None: one at the end."""

    patience: int | None = None
    """Entries without a lower held-out loss after which training ends. None: it does not end early."""

    start: Mapping[str, Array] | None = None
    """A state to continue from (see `Adapted.state`). None: `Adaptation.initial`."""

    checkpoint: Checkpoint | None = None
    """Where to store unfinished training. What is saved there always belongs to the same images, spec and seed; a fit
    that loads it resumes from it, with the result of an uninterrupted one."""

    hook: TrainingHook | None = None
    """What a federated algorithm adds to each step. Its `loss` gets the module, latents [b, …], the denoising loss of
    each image [b] in the place of logits, and class ids [b]."""

    on_entry: Callable[[Mapping[str, float], Adapted], None] | None = None
    """Called after each entry of the history was added, with the adapter as it is then."""


class Adapted(Protocol):
    """An adapter in training, or trained."""

    def state(self, which: CheckpointName) -> Mapping[str, Array]:
        """What was trained and nothing else, float32 by name: for averaging and for continuing. selected: of the entry
        with the lowest held-out loss, or the last one if nothing was held out."""

    def trained(self) -> Sequence[str]:
        """Names in `state` of the arrays that the optimizer changes."""

    def history(self) -> Sequence[Mapping[str, float]]:
        """One entry each `AdaptContext.evaluate_every` steps: step, epoch, minutes, loss (mean since the last entry)
        and, if images were held out, held_out_loss."""

    def size_bytes(self) -> int:
        """Bytes of `state`: what federated training sends in one direction."""

    def synthesizer(self, which: CheckpointName) -> Synthesizer:
        """The generator with these weights. It shares none with the training."""

    def save(self, folder: Path, which: CheckpointName) -> Mapping[str, str]:
        """Write what the generator takes to an empty folder. Returns the option of the generator that takes it, by its
        name, with the path below the folder: {"model": "."} or {"lora": "."}."""


class Adaptation(Protocol):
    """Trains an adapter of one generator."""

    def check(self) -> None:
        """Raise ModelError if the generator cannot be adapted so. Loads no weights."""

    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images to train on, in pixels."""

    def settings(self) -> Mapping[str, object]:
        """JSON: what is trained and how, with what the spec left to the generator. Determines `fit` beside the images,
        the context and the generator."""

    def base(self) -> Mapping[str, object]:
        """JSON: the model that is adapted: name, and fingerprint of what an adapter depends on."""

    def initial(self, context: AdaptContext) -> Adapted:
        """The adapter that `fit` starts from without `context.start`."""

    def restore(self, state: Mapping[str, Array], context: AdaptContext) -> Adapted:
        """An adapter with this state, without training. Raises ModelError if the state does not fit."""

    def fit(self, train: CaptionedImages, held_out: CaptionedImages | None, context: AdaptContext) -> Adapted:
        """Train on captioned images, with the loss that the generator was trained with.

        Equal images, spec, seed, device, threads and libraries give equal weights, killed or not; `minutes` does not.
        Raises DataError for a set without images, DivergedError if the loss becomes NaN or infinite.
        """


@runtime_checkable
class SupportsAdaptation(Protocol):
    """A generator that can be adapted to other images."""

    def adaptation(self, spec: AdapterSpec) -> Adaptation:
        """How this generator is adapted. Raises ModelError if it cannot be adapted so."""
