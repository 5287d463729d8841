"""Classifiers: what is trained on the synthetic set, and how a federated algorithm can change its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from fgl.contracts.progress import NullProgress

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.product import Product
    from fgl.contracts.progress import Progress


CheckpointName = Literal["selected", "last"]
"""Which state of a trained model to use: the one selected by validation, or that of the last epoch."""


TrainingSet: TypeAlias = Any
"""`LabelledPixels`; for a classifier of another product `LabelledArrays`, or a `Conditioning` where nothing is
synthesized. A classifier annotates the kinds that it accepts."""


class TrainedClassifier(Protocol):
    """A model that can classify: what `Classifier.fit` returns.

    It may have the methods of `SupportsLogits` and `SupportsFeatures` too.
    """

    def predict(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Labels:
        """Classify images: uint8 [n, h, w, 3] → class ids, int64 [n]."""

    def state(self, which: CheckpointName) -> Mapping[str, Array]:
        """Parameters and buffers by name, for averaging and for continuing training."""

    def trained(self) -> Sequence[str]:
        """Names in `state` of the arrays that an optimizer changes; the others are buffers."""

    def history(self) -> Sequence[Mapping[str, float]]:
        """One entry for each epoch: epoch, loss, and, given a validation set, top-1 accuracy on it."""

    def size_bytes(self) -> int:
        """Size of parameters and buffers in their own dtype, in bytes: what FedAvg sends in one direction."""

    def save(self, folder: Path, which: CheckpointName) -> None:
        """Write the model in Hugging Face format, with the class names as labels."""


@runtime_checkable
class SupportsLogits(Protocol):
    """A trained classifier whose membership inference `fgl audit` can measure."""

    def logits(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Array:
        """The inputs of softmax: uint8 [n, h, w, 3] → float32 [n, classes]. `fgl audit` uses them."""


@runtime_checkable
class SupportsFeatures(Protocol):
    """A trained classifier whose features the feature space `trained` can use."""

    def features(self, pixels: Pixels, which: CheckpointName, progress: Progress) -> Array:
        """The inputs of the last layer: uint8 [n, h, w, 3] → float32 [n, d]. The feature space `trained` uses
        them."""


class TrainingHook(Protocol):
    """What a federated algorithm adds to each optimizer step of `Classifier.fit`.

    Tensors and modules are those of the classifier's library (torch for the built-in classifiers). Each fit gets a hook
    object of its own.
    """

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        """A term to add to the loss.

        Args:
            model: The module in training.
            images: The model's inputs, [n, 3, side, side].
            logits: [n, classes].
            labels: Class ids, int64 [n].

        Returns: A scalar tensor, or None to add nothing.
        """

    def gradients(self, model: Any, lr: float) -> None:
        """Called after the backward pass and before the optimizer's step; may change `parameter.grad` in place.

        Args:
            model: The module in training.
            lr: Learning rate of this step.
        """


class Checkpoint(Protocol):
    """Where unfinished training is stored; a killed run resumes from its last epoch."""

    def load(self) -> Mapping[str, Array] | None:
        """The arrays saved last. None if nothing was saved, or if it is damaged or belongs to other inputs."""

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Replace the saved arrays, atomically."""

    def child(self, name: str) -> Checkpoint:
        """A separate checkpoint for a part of this work."""


@dataclass(frozen=True, slots=True)
class FitContext:
    """How to train."""

    class_names: tuple[str, ...]
    """Names of the classes, in label order."""

    seed: int
    """Seed of everything that is drawn at random."""

    device: str
    """Device to train on, such as "cpu" or "cuda:0"."""

    progress: Progress = field(default_factory=NullProgress)
    """Where training reports its progress."""

    start: Mapping[str, Array] | None = None
    """A state to continue from (see `TrainedClassifier.state`). None: start as the options say."""

    epochs: int | None = None
    """Overrides the number of epochs in the options."""

    on_step: Callable[[int, float], None] | None = None
    """Called after each optimizer step with (step, loss)."""

    on_epoch: Callable[[Mapping[str, float]], None] | None = None
    """Called after each epoch with its entry of `TrainedClassifier.history`; not for epochs that a checkpoint holds."""

    label: str = "train"
    """Name of this training in progress displays."""

    checkpoint: Checkpoint | None = None
    """Where to store unfinished training. None: nowhere. What is saved there always belongs to the same data, options
    and context: a fit that loads it resumes from it, and gives the same result as an uninterrupted one."""

    hook: TrainingHook | None = None
    """What a federated algorithm adds to each step."""

    product: Product | None = None
    """What the generator yields; its shape is that of every item that the model reads. None: images."""


class Classifier(Protocol):
    """Trains an image classifier. It may have the method of `SupportsPreparation` too.

    A classifier of another product (`Component.accepts`) gets `LabelledArrays` in place of `LabelledPixels`, of real
    images as of synthetic ones, and [n, *shape] in place of pixels. Where the product is not synthesized, `fit` gets
    the Conditioning as `train`, and `LabelledArrays` of real images from baselines and rounds.
    """

    def check(self, context: FitContext) -> None:
        """Raise ModelError if the classifier cannot be built. Called before anything else is computed."""

    def fit(self, train: TrainingSet, validation: TrainingSet | None, context: FitContext) -> TrainedClassifier:
        """Train on `train`, and call `context.hook` at each step.

        The selected checkpoint is the best by top-1 accuracy on `validation`, or the last one if `validation` is None.
        Raises DivergedError if the loss becomes NaN or infinite.
        """

    def initial(self, context: FitContext) -> TrainedClassifier:
        """The model that `fit` starts from without `context.start`: pretrained, or initialized from `context.seed`."""

    def restore(self, state: Mapping[str, Array], context: FitContext) -> TrainedClassifier:
        """A model with this state, without training."""


@runtime_checkable
class SupportsPreparation(Protocol):
    """A classifier that says how real images are resized for it."""

    def preparation(self, made: tuple[int, int]) -> Preparation:
        """How to resize and crop real images before they are passed to `fit` and `predict`.

        Without this method, a classifier gets the middle square of real images, resized to the smaller side of
        `made`. What `TrainedClassifier.save` exports must do the same to an image that is tested. made: (height, width)
        of synthetic images, in pixels.
        """
