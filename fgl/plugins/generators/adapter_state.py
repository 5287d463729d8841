"""The state of unfinished adaptation, from one entry of its history to the next, as named arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fgl.plugins import _training_state
from fgl.plugins.generators.adapter_weights import AdapterWeights, State

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Checkpoint

_COLUMNS = ("step", "epoch", "minutes", "loss", "held_out_loss")


@dataclass(slots=True)
class AdapterFit:
    """One training between two entries."""

    weights: AdapterWeights
    """What is trained."""

    optimizer: torch.optim.Optimizer
    """Its optimizer."""

    average: State | None
    """Moving average of the weights, if one is wanted."""

    step: int = 0
    """Optimizer steps done."""

    spent: float = 0.0
    """Seconds of training."""

    best: float = math.inf
    """Lowest held-out loss so far."""

    waited: int = 0
    """Entries since then."""

    selected: State | None = None
    """Weights of that entry."""

    history: list[dict[str, float]] = field(default_factory=list)
    """The entries."""

    def state(self) -> State:
        """A copy of the weights that count: the averaged ones, if there are any."""
        if self.average is None:
            return self.weights.state()
        return {name: tensor.clone() for name, tensor in self.average.items()}

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights. It starts faster, so that it does not remember random weights."""
        if self.average is not None:
            keep = min(decay, self.step / (self.step + 9))
            # one call for all weights: a loop over hundreds of small ones takes longer than the sums
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.named.values()), 1 - keep)

    def pack(self) -> dict[str, Array]:
        """Everything as arrays, for `resume`. Learning rates follow from the step."""
        return {
            "at": np.array([self.step, self.waited], dtype=np.int64),
            "measured": np.array([self.spent, self.best], dtype=np.float64),
            "history": _training_state.history_array(self.history, _COLUMNS),
            **_training_state.pack(
                {"model": self.weights.named, "average": self.average, "selected": self.selected}, self.optimizer
            ),
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Resume from `checkpoint`, if it holds anything."""
        arrays = checkpoint.load()
        if arrays is None:
            return
        parts = _training_state.unpack(arrays, ("model", "average", "selected"))
        self.weights.load(parts["model"])
        if self.average is not None:
            for name, tensor in parts["average"].items():
                self.average[name].copy_(tensor)
        if parts["selected"]:
            self.selected = {
                name: tensor.to(self.weights.named[name].device) for name, tensor in parts["selected"].items()
            }
        trained = list(self.weights.named.values())
        _training_state.load_optimizer(self.optimizer, parts[_training_state.OPTIMIZER], trained)
        self.step, self.waited = arrays["at"].tolist()
        self.spent, self.best = arrays["measured"].tolist()
        self.history = _training_state.history_of(arrays["history"], _COLUMNS)


def arrays_of(state: Mapping[str, Tensor]) -> dict[str, Array]:
    """float32 arrays on the CPU."""
    return {name: _training_state.array_of(tensor).astype(np.float32, copy=False) for name, tensor in state.items()}
