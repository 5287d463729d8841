"""The state of unfinished training that one epoch passes to the next, as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgl.plugins import _training_state
from fgl.plugins.classifiers.model import State

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Checkpoint


_COLUMNS = ("epoch", "loss", "validation_top1")


@dataclass(slots=True)
class Fit:
    """One training run between two epochs."""

    model: torch.nn.Module
    """The model."""

    optimizer: torch.optim.Optimizer
    """Its optimizer."""

    average: State | None
    """Moving average of the weights, if the options ask for one."""

    epoch: int = 0
    """Epochs done."""

    step: int = 0
    """Optimizer steps done."""

    best: float = -1.0
    """Highest validation top-1 so far."""

    selected: State | None = None
    """Weights of the epoch that is selected so far."""

    history: list[dict[str, float]] = field(default_factory=list)
    """One entry for each epoch."""

    def state(self) -> State:
        """A copy of the weights that count: the averaged ones, if there are any."""
        return snapshot(self.model) if self.average is None else clone(self.average)

    def pack(self) -> dict[str, Array]:
        """Everything as arrays, for `resume`. Learning rates are not included: they are determined by the step."""
        return {
            "at": np.array([self.epoch, self.step], dtype=np.int64),
            "best": np.array(self.best, dtype=np.float64),
            "history": _training_state.history_array(self.history, _COLUMNS),
            **_training_state.pack(
                {"model": self.model.state_dict(), "average": self.average, "selected": self.selected}, self.optimizer
            ),
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Resume from `checkpoint`, if it holds anything."""
        arrays = checkpoint.load()
        if arrays is None:
            return
        parts = _training_state.unpack(arrays, ("model", "average", "selected"))
        self.model.load_state_dict(parts["model"])
        if self.average is not None:
            for name, tensor in parts["average"].items():
                self.average[name].copy_(tensor)
        if parts["selected"]:
            current = self.model.state_dict()
            self.selected = {name: tensor.to(current[name].device) for name, tensor in parts["selected"].items()}
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        _training_state.load_optimizer(self.optimizer, parts[_training_state.OPTIMIZER], weights)
        self.epoch, self.step = arrays["at"].tolist()
        self.best = float(arrays["best"])
        self.history = _training_state.history_of(arrays["history"], _COLUMNS)


def snapshot(model: torch.nn.Module) -> State:
    """A copy of parameters and buffers."""
    return clone(model.state_dict())


def clone(state: Mapping[str, torch.Tensor]) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
