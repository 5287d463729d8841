"""Federated averaging, the base of the other algorithms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.plugins.algorithms.options import FedAvgOptions

if TYPE_CHECKING:
    from fgl.contracts.algorithm import LocalJob
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import TrainingHook


class FedAvg:
    """McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data, algorithm 1.

    In every round the clients start from the global state and train on their own data, and the server averages
    parameters and buffers (including BatchNorm's running statistics), weighted by sample count. Optimizer state and
    learning-rate schedule are reset for each client and round. The other algorithms inherit from this one and replace
    a step each.
    """

    def __init__(self, options: FedAvgOptions) -> None:
        self.options = options

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained))

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {}

    def hook(self, job: LocalJob) -> TrainingHook | None:
        """What is added to each local step, for algorithms whose client step differs in nothing else."""
        return None

    def local(self, job: LocalJob) -> LocalUpdate:
        model = job.fit(self.hook(job))
        return LocalUpdate(job.client_id, job.samples, model.state("last"), loss=last_loss(model.history()))

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        return replace(state, model=average([update.model for update in updates], self.weights(updates)))

    def weights(self, updates: Sequence[LocalUpdate]) -> list[float]:
        """The weight of each update in this round's average. They sum to one."""
        counts = [update.samples if self.options.weighting == "samples" else 1 for update in updates]
        return [count / sum(counts) for count in counts]


def average(states: Sequence[Mapping[str, Array]], weights: Sequence[float]) -> dict[str, Array]:
    """Weighted mean of each floating-point array, summed in float64 and returned in its own dtype; for integer arrays
    (BatchNorm's num_batches_tracked), the maximum. All states hold the same names and shapes."""
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    result: dict[str, Array] = {}
    for name, first in states[0].items():
        if np.issubdtype(first.dtype, np.floating):
            result[name] = weighted((state[name] for state in states), shares).astype(first.dtype)
        else:
            # asarray: numpy turns arrays without axes into scalars
            result[name] = np.asarray(np.maximum.reduce([state[name] for state in states]), dtype=first.dtype)
    return result


def weighted(arrays: Iterable[Array], weights: Iterable[float]) -> Array:
    """Sum of weight × array, in float64."""
    total: Array = np.asarray(
        sum(weight * array.astype(np.float64) for weight, array in zip(weights, arrays, strict=True))
    )
    return total


def last_loss(history: Sequence[Mapping[str, float]]) -> float:
    return float(history[-1]["loss"]) if history else 0.0
