"""A linear head trained on features by gradient descent (contract `Classifier`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from fgl.errors import DivergedError
from fgl.plugins.classifiers.architectures import reseed, seeded
from fgl.plugins.classifiers.classifier import batches, epoch_seed
from fgl.plugins.classifiers.fit_state import Fit, snapshot
from fgl.plugins.classifiers.head_options import LinearOptions
from fgl.plugins.classifiers.heads import Head, State, check_set, restored, zeros

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import FitContext
    from fgl.contracts.product import LabelledArrays


class _Layer(torch.nn.Module):
    """[n, d] → [n, c], of features that are shifted and scaled first: what it has learnt is a layer of the features
    themselves, with other weights."""

    def __init__(self, state: Mapping[str, Array], mean: Array, scale: Array) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(state["weight"] * scale))
        self.bias = torch.nn.Parameter(torch.tensor(state["bias"] + state["weight"] @ mean))
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return F.linear((points - self.mean) / self.scale, self.weight, self.bias)


class LinearHead:
    """See `LinearOptions`."""

    def __init__(self, options: LinearOptions) -> None:
        self.options = options

    def check(self, context: FitContext) -> None:
        """Raise ModelError if the generator yields no features."""
        zeros(context)

    def initial(self, context: FitContext) -> Head:
        state = zeros(context)
        return Head(context.class_names, state, state)

    def restore(self, state: Mapping[str, Array], context: FitContext) -> Head:
        kept = restored(state, context)
        return Head(context.class_names, kept, kept)

    def fit(self, train: LabelledArrays, validation: LabelledArrays | None, context: FitContext) -> Head:
        """Train from zeros or `context.start`, and select the epoch by top-1 on `validation`, of equal ones the later.

        Raises DataError for a set that cannot be trained on, and DivergedError if training diverges.
        """
        classes = len(context.class_names)
        check_set(train, classes, "training set")
        if validation is not None and len(validation):
            check_set(validation, classes, "validation set")
        else:
            validation = None
        device = torch.device(context.device)
        with seeded(context.seed, device):
            return self._train(self._layer(train, context).to(device), train, validation, context)

    def _layer(self, train: LabelledArrays, context: FitContext) -> _Layer:
        classes, width = len(context.class_names), train.values.shape[1]
        if context.start is not None:
            state = restored(context.start, context)
        else:
            state = {"weight": np.zeros((classes, width), np.float32), "bias": np.zeros(classes, np.float32)}
        mean, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
        # a hook compares weights of several clients, which must mean the same at each of them
        if self.options.standardize and context.hook is None:
            values = np.asarray(train.values, dtype=np.float64)
            deviation = values.std(axis=0)
            # a feature that does not vary says nothing, and must not become noise
            varies = deviation > 1e-6 * max(float(deviation.max()), 1e-12)
            mean, scale = values.mean(axis=0).astype(np.float32), np.where(varies, deviation, 1).astype(np.float32)
        return _Layer(state, mean, scale)

    def _train(
        self, model: _Layer, train: LabelledArrays, validation: LabelledArrays | None, context: FitContext
    ) -> Head:
        options, device = self.options, model.weight.device
        epochs = options.epochs if context.epochs is None else context.epochs
        positions = np.arange(len(train)) if len(train) > 1 else np.zeros(2, dtype=np.int64)
        steps = epochs * len(batches(positions, options.batch_size))
        groups = [
            {"params": [model.weight], "weight_decay": options.weight_decay},
            {"params": [model.bias], "weight_decay": 0.0},
        ]
        fit = Fit(model, torch.optim.AdamW(groups, lr=options.lr), None)
        if context.checkpoint is not None:
            fit.resume(context.checkpoint)
        with context.progress.track(context.label, (epochs - fit.epoch) * len(positions)) as task:
            for epoch in range(fit.epoch + 1, epochs + 1):
                # all that is random in an epoch is determined by its number, so that training can be resumed
                seed = epoch_seed(context.seed, epoch)
                reseed(seed, device)
                total, seen = torch.zeros((), device=device), 0
                order = np.random.default_rng(seed).permutation(positions)
                for chosen in batches(order, options.batch_size):
                    points = torch.from_numpy(np.asarray(train.values[chosen], np.float32)).to(device)
                    labels = torch.from_numpy(train.labels[chosen]).to(device)
                    logits = model(points)
                    plain = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
                    term = None if context.hook is None else context.hook.loss(model, points, logits, labels)
                    loss = plain if term is None else plain + term
                    lr = options.lr * 0.5 * (1 + math.cos(math.pi * fit.step / steps))
                    for group in fit.optimizer.param_groups:
                        group["lr"] = lr
                    fit.optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    if context.hook is not None:
                        context.hook.gradients(model, lr)
                    fit.optimizer.step()
                    fit.step += 1
                    total += plain.detach() * len(chosen)
                    seen += len(chosen)
                    if context.on_step is not None:
                        context.on_step(fit.step, float(loss.detach()))
                    task.advance(len(chosen), f"epoch {epoch}/{epochs}")
                entry = {"epoch": float(epoch), "loss": float(total) / seen}
                if not (math.isfinite(entry["loss"]) and bool(torch.isfinite(model.weight).all())):
                    raise DivergedError(
                        f"training diverged in epoch {epoch} (loss {entry['loss']}): lower lr ({options.lr})"
                    )
                if validation is not None:
                    entry["validation_top1"] = _top1(model, validation, context)
                    if entry["validation_top1"] >= fit.best:
                        fit.selected, fit.best = fit.state(), entry["validation_top1"]
                fit.epoch = epoch
                fit.history.append(entry)
                if context.checkpoint is not None:
                    context.checkpoint.save(fit.pack())
        last = fit.state()
        return Head(context.class_names, _arrays(fit.selected or last), _arrays(last), fit.history)


def _top1(model: _Layer, data: LabelledArrays, context: FitContext) -> float:
    state = _arrays(snapshot(model))
    predicted = Head(context.class_names, state, state).predict(data.values, "last")
    return float((predicted == data.labels).mean())


def _arrays(state: Mapping[str, torch.Tensor]) -> State:
    """Of a `_Layer`'s state, the layer of the features themselves."""
    mean, scale, weight, bias = (state[name].detach().cpu().numpy() for name in ("mean", "scale", "weight", "bias"))
    unscaled: Array = weight / scale
    return {"weight": unscaled, "bias": bias - unscaled @ mean}


__all__ = ["LinearHead"]
