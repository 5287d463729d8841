"""FedProx: a proximal term pulls local training towards the global model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from fgl.plugins.algorithms.fedavg import FedAvg
from fgl.plugins.algorithms.options import FedProxOptions

if TYPE_CHECKING:
    from fgl.contracts.algorithm import LocalJob
    from fgl.contracts.arrays import Array


class FedProx(FedAvg):
    """Li et al. 2020, Federated Optimization in Heterogeneous Networks, algorithm 2.

    Each client adds mu/2 · ‖w - w_global‖² over the trained parameters to its loss. How exactly the local problem is
    solved depends on the number of local epochs.
    """

    options: FedProxOptions

    def hook(self, job: LocalJob) -> Pull:
        return Pull(job.start, self.options.mu)


class Pull:
    """Adds the proximal term's gradient, mu · (w - w_global): exact, and without a second pass through the model."""

    def __init__(self, start: Mapping[str, Array], mu: float) -> None:
        self._start, self._mu = start, mu
        self._anchor: dict[str, torch.Tensor] = {}

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> None:
        return None

    @torch.no_grad()
    def gradients(self, model: torch.nn.Module, lr: float) -> None:
        for name, weight in model.named_parameters():
            if weight.grad is None:
                continue
            if name not in self._anchor:
                self._anchor[name] = torch.tensor(self._start[name], dtype=weight.dtype, device=weight.device)
            weight.grad.add_(weight - self._anchor[name], alpha=self._mu)
