"""Classifiers: what is trained on the synthetic set, and what a federated algorithm may do to its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fgl.contracts.progress import NullProgress

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.progress import Progress


CheckpointName = Literal["selected", "last"]


class TrainedClassifier(Protocol):
    """What `Classifier.fit` returns."""

    def predict(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Labels:
        """uint8 [n, h, w, 3] → class ids, int64 [n]."""

    def logits(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Array:
        """uint8 [n, h, w, 3] → what softmax makes probabilities of, float32 [n, classes]: `fgl audit` reads it."""

    def state(self, which: CheckpointName) -> Mapping[str, Array]:
        """Parameters and buffers by name, for averaging and for starting again."""

    def trained(self) -> Sequence[str]:
        """Names in `state` of the arrays that an optimizer changes; the others are buffers."""

    def history(self) -> Sequence[Mapping[str, float]]:
        """One entry an epoch: epoch, loss, and validation top-1 where there was a validation set."""

    def features(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Array:
        """uint8 [n, h, w, 3] → what the last layer reads, float32 [n, d]: where `trained` features compare images."""

    def size_bytes(self) -> int:
        """What FedAvg would send one way: parameters and buffers in their own dtype."""

    def save(self, folder: Path, which: CheckpointName) -> None:
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
    progress: Progress = field(default_factory=NullProgress)
    start: Mapping[str, Array] | None = None
    epochs: int | None = None
    on_step: Callable[[int, float], None] | None = None
    label: str = "train"
    checkpoint: Checkpoint | None = None
    hook: TrainingHook | None = None


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
