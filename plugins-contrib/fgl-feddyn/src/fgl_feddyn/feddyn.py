"""FedDyn: a regularizer that changes from round to round, so that the clients' minima agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fgl import GlobalState, LocalJob, LocalUpdate

if TYPE_CHECKING:
    from fgl import Array

    from fgl_feddyn.options import FedDynOptions


class FedDyn:
    """Acar et al. 2021, Federated Learning Based on Dynamic Regularization (arXiv 2111.04263), algorithm 1.

    A client keeps the gradient of its loss at its last model (`kept`, one array for each trained one), the server the
    mean of those over all clients (`algorithm_state`, h in the paper, with the opposite sign).
    """

    def __init__(self, options: FedDynOptions) -> None:
        self.alpha = options.alpha

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained), {name: np.zeros_like(model[name]) for name in trained})

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {}

    def local(self, job: LocalJob) -> LocalUpdate:
        fitted = job.fit(Regularizer(job.start, job.kept, self.alpha))
        state, history = fitted.state("last"), fitted.history()
        kept = {
            name: np.asarray(job.kept.get(name, 0.0) - self.alpha * (state[name] - job.start[name]), np.float32)
            for name in fitted.trained()
        }
        loss = float(history[-1]["loss"]) if history else 0.0
        return LocalUpdate(job.client_id, job.samples, state, kept=kept, loss=loss)

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        model, drift = mean(updates, [1.0] * len(updates)), {}
        for name in state.trained:
            moved = sum(update.model[name].astype(np.float64) - state.model[name] for update in updates)
            total = state.algorithm_state[name] - self.alpha * moved / clients
            drift[name] = np.asarray(total, dtype=model[name].dtype)
            model[name] = np.asarray(model[name] - total / self.alpha, dtype=model[name].dtype)
        return GlobalState(model, state.trained, drift)


class Regularizer:
    """What FedDyn adds to the gradient of each step: alpha (w - w_global) less what the client kept."""

    def __init__(self, start: Mapping[str, Array], kept: Mapping[str, Array], alpha: float) -> None:
        self._start, self._kept, self._alpha = start, kept, alpha
        self._tensors: dict[str, torch.Tensor] = {}

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> None:
        return None

    @torch.no_grad()
    def gradients(self, model: Any, lr: float) -> None:
        for name, weight in model.named_parameters():
            if weight.grad is None:
                continue
            if name not in self._tensors:
                constant = self._alpha * self._start[name] + self._kept.get(name, 0.0)
                self._tensors[name] = torch.tensor(constant, dtype=weight.dtype, device=weight.device)
            weight.grad.add_(weight, alpha=self._alpha).sub_(self._tensors[name])


def mean(updates: Sequence[LocalUpdate], weights: Sequence[float]) -> dict[str, Array]:
    """Weighted mean of the clients' models; of integer buffers, such as BatchNorm's counters, the maximum."""
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    result: dict[str, Array] = {}
    for name, first in updates[0].model.items():
        arrays = [update.model[name] for update in updates]
        if np.issubdtype(first.dtype, np.floating):
            total = sum(share * array.astype(np.float64) for share, array in zip(shares, arrays, strict=True))
            result[name] = np.asarray(total, dtype=first.dtype)
        else:
            result[name] = np.asarray(np.maximum.reduce(arrays), dtype=first.dtype)
    return result
