"""Trains a transformers image classifier on arrays of pixels (contract `Classifier`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.progress import NullProgress
from fgl.errors import DataError, DivergedError
from fgl.plugins.classifiers.architectures import build, load_state, reseed, seeded
from fgl.plugins.classifiers.augment import Augmenter, preparation
from fgl.plugins.classifiers.fit_state import Fit, snapshot
from fgl.plugins.classifiers.mixup import Mixer
from fgl.plugins.classifiers.model import Network, State, Trained
from fgl.plugins.classifiers.options import ClassifierOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import FitContext
    from fgl.contracts.preparation import Preparation


class TransformersClassifier:
    """Any transformers image-classification model; see `ClassifierOptions`."""

    def __init__(self, options: ClassifierOptions) -> None:
        self.options = options

    def check(self, context: FitContext) -> None:
        """Build the model once. Raises ModelError for an architecture or weights that cannot be used as requested."""
        build(self.options, context.class_names, context.seed)

    def preparation(self, made: tuple[int, int]) -> Preparation:
        """How real images are resized and cropped; see `Preparation`."""
        return preparation(self.options, self.options.image_size, self.options.eval_resize, made)

    def initial(self, context: FitContext) -> Trained:
        """The model before any training: pretrained, or initialized from the seed."""
        network = self._network(context, None)
        kept = snapshot(network.model)
        return Trained(network, kept, kept)

    def restore(self, state: Mapping[str, Array], context: FitContext) -> Trained:
        """A model with this state, without training. Raises ModelError if the state does not fit the model."""
        network = self._network(context, state)
        kept = snapshot(network.model)
        return Trained(network, kept, kept)

    def fit(self, train: LabelledPixels, validation: LabelledPixels | None, context: FitContext) -> Trained:
        """Train on `train`, and select the epoch by top-1 on `validation` (without it, the last epoch).

        Of equal epochs the later one is selected, because synthetic validation images are soon all classified
        correctly. With `selection_slack`, epochs that differ by at most that many standard errors count as equal
        (Breiman et al. 1984).

        Equal seed, device, thread count and libraries yield equal weights. Raises DataError for labels outside the
        class names or a set without images, and DivergedError if training diverges.
        """
        check(train, len(context.class_names), "training set")
        if validation is not None and len(validation):
            check(validation, len(context.class_names), "validation set")
        else:
            validation = None
        network = self._network(context, context.start)
        deterministic = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True
        )
        with seeded(context.seed, network.device), deterministic:
            return self._train(network, train, validation, context)

    def _network(self, context: FitContext, state: Mapping[str, Array] | None) -> Network:
        model = build(self.options, context.class_names, context.seed)
        if state is not None:
            load_state(model, state, "the state to start from")
        return Network(model, self.options, torch.device(context.device))

    def _train(
        self, network: Network, train: LabelledPixels, validation: LabelledPixels | None, context: FitContext
    ) -> Trained:
        options, model = self.options, network.model
        epochs, steps = self._length(len(train), context.epochs)
        augmenter = Augmenter(options, options.image_size, network.device, context.seed, options.eval_resize)
        if validation is not None:  # once, not in every epoch
            validation = LabelledPixels(augmenter.prepare(validation.pixels), validation.labels)
        mixer = Mixer(options.mixup, options.cutmix, context.seed)
        fit = Fit(model, make_optimizer(options, model), snapshot(model) if options.ema else None)
        if context.checkpoint is not None:
            fit.resume(context.checkpoint)
        # BatchNorm cannot learn from one image: a single one is taken twice, with different augmentation.
        positions = np.arange(len(train)) if len(train) > 1 else np.zeros(2, dtype=np.int64)
        left = seen_in(steps, len(positions), options.batch_size) - seen_in(
            fit.step, len(positions), options.batch_size
        )
        with context.progress.track(context.label, left) as task:
            for epoch in range(fit.epoch + 1, epochs + 1):
                # All that is random in an epoch is determined by its number, so that training can be resumed.
                seed = epoch_seed(context.seed, epoch)
                reseed(seed, network.device)
                augmenter.reseed(seed)
                mixer.reseed(seed)
                model.train()
                total, seen = torch.zeros((), device=network.device), 0
                order = np.random.default_rng(seed).permutation(positions)
                for chosen in batches(order, options.batch_size)[: steps - fit.step]:
                    pixels = torch.from_numpy(train.pixels[chosen]).to(network.device)
                    labels = torch.from_numpy(train.labels[chosen]).to(network.device)
                    images, partners, share = mixer(augmenter.train(pixels))
                    logits = network.logits(images)
                    loss = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
                    if partners is not None:
                        other = F.cross_entropy(logits, labels[partners], label_smoothing=options.label_smoothing)
                        loss = share * loss + (1 - share) * other
                    plain = loss  # for the history: a hook's term may be negative, and is not a loss on the data
                    if context.hook is not None:
                        term = context.hook.loss(model, images, logits, labels)
                        loss = loss if term is None else loss + term
                    lr = options.lr * rate(options, fit.step, steps)
                    for group in fit.optimizer.param_groups:
                        group["lr"] = lr
                    fit.optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    if context.hook is not None:
                        context.hook.gradients(model, lr)
                    fit.optimizer.step()
                    fit.step += 1
                    if fit.average is not None:
                        _follow(fit.average, model, min(options.ema, fit.step / (fit.step + 9)))
                    total += plain.detach() * len(chosen)
                    seen += len(chosen)
                    if context.on_step is not None:
                        context.on_step(fit.step, float(loss.detach()))
                    task.advance(len(chosen), f"epoch {epoch}/{epochs}")
                entry = {"epoch": float(epoch), "loss": float(total) / seen}
                if not math.isfinite(entry["loss"]):
                    raise DivergedError(
                        f"training diverged in epoch {epoch} (loss {entry['loss']}): lower lr ({options.lr})"
                    )
                if validation is not None:
                    entry["validation_top1"] = self._top1(network, fit.average, validation, augmenter)
                    slack = options.selection_slack * _error(fit.best, len(validation))
                    if entry["validation_top1"] >= fit.best - slack:
                        fit.selected = fit.state()
                    fit.best = max(fit.best, entry["validation_top1"])
                fit.epoch = epoch
                fit.history.append(entry)
                if context.checkpoint is not None:
                    context.checkpoint.save(fit.pack())
                if context.on_epoch is not None:
                    context.on_epoch(entry)
        last = fit.state()
        return Trained(network, fit.selected or last, last, fit.history)

    def _length(self, images: int, epochs: int | None) -> tuple[int, int]:
        """Epochs and optimizer steps. `epochs` of the context overrides both options."""
        per_epoch = len(batches(np.arange(max(images, 2)), self.options.batch_size))
        if epochs is None and self.options.max_steps is not None:
            return math.ceil(self.options.max_steps / per_epoch), self.options.max_steps
        count = self.options.epochs if epochs is None else epochs
        return count, count * per_epoch

    @staticmethod
    def _top1(network: Network, average: State | None, validation: LabelledPixels, augmenter: Augmenter) -> float:
        training = None if average is None else snapshot(network.model)
        if average is not None:
            network.model.load_state_dict(average)
        # in training's precision: it must be fast, and all epochs are compared in the same way
        predicted = network.outputs(validation.pixels, augmenter, NullProgress(), "validate", exact=False).argmax(1)
        if training is not None:
            network.model.load_state_dict(training)
        return top1(predicted, torch.from_numpy(validation.labels))


def top1(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of int64 [n] `predicted` that equals `labels`, over all samples."""
    return float((predicted == labels).float().mean())


def _error(share: float, count: int) -> float:
    """Standard error of a proportion of `count` samples."""
    return math.sqrt(max(0.0, share * (1 - share)) / count)


def check(data: LabelledPixels, classes: int, what: str) -> None:
    """Raise DataError if training on `data` would be meaningless. what: its name for errors."""
    if not len(data):
        raise DataError(f"the {what} is empty; expected at least one image")
    if data.pixels.dtype != np.uint8 or data.pixels.ndim != 4 or data.pixels.shape[3] != 3:
        raise DataError(f"the {what} holds {data.pixels.dtype} {data.pixels.shape}; expected uint8 [n, h, w, 3]")
    if len(data.pixels) != len(data.labels):
        raise DataError(f"the {what} holds {len(data.pixels)} images but {len(data.labels)} labels")
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"the {what} has labels from {low} to {high}; expected 0 to {classes - 1}, one per class name")


def batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Divide `order` (at least two) into even batches of about `size`, and of at least two: BatchNorm cannot handle a
    single image."""
    return np.array_split(order, max(1, min(math.ceil(len(order) / size), len(order) // 2)))


def seen_in(steps: int, images: int, size: int) -> int:
    """Number of images processed in `steps` steps."""
    sizes = [len(batch) for batch in batches(np.arange(images), size)]
    return steps // len(sizes) * images + sum(sizes[: steps % len(sizes)])


def make_optimizer(options: ClassifierOptions, model: torch.nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=options.lr, betas=(options.momentum, 0.999), weight_decay=options.weight_decay, fused=True
        )
    return torch.optim.SGD(parameters, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)


def rate(options: ClassifierOptions, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) relative to its peak."""
    warm = round(options.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if options.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, steps - warm)
    return 1 - done if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of an epoch (from 1), below 2^63."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]) >> 1


@torch.no_grad()
def _follow(average: State, model: torch.nn.Module, decay: float) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1 - decay)
        else:
            average[name].copy_(tensor)
