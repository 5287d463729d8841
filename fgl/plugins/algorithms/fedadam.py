"""FedAdam: the server treats the averaged change of the clients as a gradient, and uses Adam as its optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.plugins.algorithms.fedavg import FedAvg, average
from fgl.plugins.algorithms.options import FedAdamOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


class FedAdam(FedAvg):
    """Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2.

    With Δ the clients' averaged change: m ← β1·m + (1 - β1)·Δ, v ← β2·v + (1 - β2)·Δ², x ← x + lr · m / (√v + τ),
    without bias correction, and v starts at τ², as in the paper. Buffers are averaged: a running variance is not a
    parameter.
    """

    options: FedAdamOptions

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        moments: dict[str, Array] = {}
        for name in trained:
            moments[f"m/{name}"] = np.zeros(model[name].shape, np.float32)
            moments[f"v/{name}"] = np.full(model[name].shape, self.options.tau**2, np.float32)
        return GlobalState(model, tuple(trained), moments)

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        o = self.options
        model = average([update.model for update in updates], self.weights(updates))
        moments: dict[str, Array] = {}
        for name in state.trained:
            before = state.model[name].astype(np.float64)
            change = model[name] - before
            m = o.beta1 * state.algorithm_state[f"m/{name}"] + (1 - o.beta1) * change
            v = o.beta2 * state.algorithm_state[f"v/{name}"] + (1 - o.beta2) * change**2
            model[name] = (before + o.lr * m / (np.sqrt(v) + o.tau)).astype(model[name].dtype)
            moments[f"m/{name}"], moments[f"v/{name}"] = np.asarray(m, np.float32), np.asarray(v, np.float32)
        return GlobalState(model, state.trained, moments)
