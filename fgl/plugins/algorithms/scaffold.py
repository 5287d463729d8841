"""SCAFFOLD: control variates correct local gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.plugins.algorithms.fedavg import FedAvg, average, last_loss, weighted
from fgl.plugins.algorithms.options import ScaffoldOptions

if TYPE_CHECKING:
    from fgl.contracts.algorithm import LocalJob
    from fgl.contracts.arrays import Array


class Scaffold(FedAvg):
    """Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, algorithm 1.

    Each local step uses g - c_k + c instead of the gradient g; c_k is the client's control variate, c the server's.
    The correction is added to the gradient *before* the optimizer sees it, so momentum, Adam's moments and weight decay
    act on corrected gradients; the paper uses plain SGD, where this is the same. The option `control` chooses how a
    client's new variate is computed:

    gradients     the mean of its uncorrected gradients g over the round. Under plain SGD this equals the other choice;
                  with momentum, Adam, weight decay or a schedule it still is what a variate is meant to be.
    displacement  the paper's option II, c_k - c + (x - y) / Σ lr. With momentum β a step moves by about lr/(1 - β), so
                  the variate is too large by that factor; with Adam it is not a gradient at all.

    The option `weighting` weights the models that the server averages, and the changes of the variates, which are also
    scaled by the share |S|/N of clients that took part. With `uniform` both are as in the paper. Buffers are averaged.
    """

    options: ScaffoldOptions

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained), {name: np.zeros_like(model[name]) for name in trained})

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        return state.algorithm_state

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {name: array.shape for name, array in state.algorithm_state.items()}

    def local(self, job: LocalJob) -> LocalUpdate:
        old = job.kept or {name: np.zeros_like(array) for name, array in job.extra.items()}
        correction = {name: job.extra[name] - old[name] for name in job.extra}
        hook = Corrected(correction)
        model = job.fit(hook)
        state = model.state("last")
        if self.options.control == "gradients":
            new = {name: hook.mean(name, old[name]) for name in old}
        else:
            new = {name: (job.start[name] - state[name]) / hook.rates - correction[name] for name in old}
        new = {name: np.asarray(array, dtype=np.float32) for name, array in new.items()}
        change = {name: new[name] - old[name] for name in old}
        return LocalUpdate(job.client_id, job.samples, state, change, new, last_loss(model.history()))

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        weights = self.weights(updates)
        model = average([update.model for update in updates], weights)
        for name in state.trained:
            moved = state.model[name] + self.options.server_lr * (model[name].astype(np.float64) - state.model[name])
            model[name] = moved.astype(model[name].dtype)
        share = len(updates) / clients
        control_variate = {
            name: (array + share * weighted((update.extra[name] for update in updates), weights)).astype(array.dtype)
            for name, array in state.algorithm_state.items()
        }
        return GlobalState(model, state.trained, control_variate)


class Corrected:
    """Adds c - c_k to every gradient, and sums up the uncorrected gradients."""

    def __init__(self, correction: Mapping[str, Array]) -> None:
        self._correction = correction
        self._tensors: dict[str, torch.Tensor] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self.steps, self.rates = 0, 0.0

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> None:
        return None

    @torch.no_grad()
    def gradients(self, model: torch.nn.Module, lr: float) -> None:
        self.steps += 1
        self.rates += lr
        for name, weight in model.named_parameters():
            if weight.grad is None:
                continue
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(weight)
                self._tensors[name] = torch.tensor(self._correction[name], dtype=weight.dtype, device=weight.device)
            self._sums[name].add_(weight.grad)
            weight.grad.add_(self._tensors[name])

    def mean(self, name: str, old: Array) -> Array:
        """The mean gradient of a parameter; `old` if it never had a gradient."""
        total = self._sums.get(name)
        return old if total is None else (total / self.steps).cpu().numpy()
