"""Federated averaging."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.core.errors import DataError
from fgl.plugins.algorithms.options import FedAvgOptions

if TYPE_CHECKING:
    from fgl.core.contracts import Classifier, TrainedClassifier
    from fgl.core.types import Array, FitContext, LabelledPixels


class FedAvg:
    """McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data, algorithm 1.

    Every round the chosen clients start from the global state, train on their own data, and the server averages
    parameters and BatchNorm buffers weighted by sample count. Optimizer state and learning-rate schedule begin anew
    in each client and round. The first global state is `context.start`; without one, every client initialises from
    the same seed, which gives the same weights.
    """

    def __init__(self, options: FedAvgOptions) -> None:
        self.options = options

    def run(
        self,
        classifier: Classifier,
        clients: Mapping[str, LabelledPixels],
        rounds: int,
        context: FitContext,
        on_local: Callable[[int, str, TrainedClassifier], None],
    ) -> TrainedClassifier:
        """Train over `rounds` rounds, numbered from 1 → the model with the global state after the last.

        Clients train in order of their id, each with a seed of its own in each round. `context.epochs` overrides
        local_epochs. Raises DataError where no client has data.
        """
        holders = sorted(client for client, data in clients.items() if len(data))
        if rounds < 1 or not holders:
            raise DataError(f"fedavg: got {rounds} rounds and {len(holders)} clients with data; expected one at least")
        epochs = self.options.local_epochs if context.epochs is None else context.epochs
        state, kept = context.start, context.checkpoint
        for number in range(1, rounds + 1):
            states, counts = [], []
            for client in self._chosen(holders, context.seed, number):
                local = replace(
                    context,
                    start=state,
                    epochs=epochs,
                    # Without a global state yet, the seed is what makes the clients' initial weights one and the same.
                    seed=context.seed if state is None else seed_of(context.seed, number, client),
                    label=f"round {number}/{rounds}, {client}",
                    checkpoint=None if kept is None else kept.child(f"{number}/{client}"),
                )
                model = classifier.fit(clients[client], None, local)
                on_local(number, client, model)
                states.append(model.state("last"))
                counts.append(len(clients[client]))
            state = average(states, counts)
        assert state is not None
        return classifier.restore(state, context)

    def _chosen(self, holders: Sequence[str], seed: int, number: int) -> list[str]:
        """Clients of a round: all, or a random share that follows from the seed and the round."""
        count = max(1, round(self.options.fraction * len(holders)))
        picked = np.random.default_rng([seed, number]).choice(len(holders), count, replace=False)
        return [holders[index] for index in sorted(picked)]


def average(states: Sequence[Mapping[str, Array]], weights: Sequence[float]) -> dict[str, Array]:
    """Weighted mean of each floating array, summed in float64 and returned in its own dtype; the largest of integer
    arrays (BatchNorm's num_batches_tracked). All states hold the same names and shapes."""
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    result: dict[str, Array] = {}
    for name, first in states[0].items():
        if np.issubdtype(first.dtype, np.floating):
            total = np.zeros(first.shape, dtype=np.float64)
            for share, state in zip(shares, states, strict=True):
                total += share * state[name]
            result[name] = np.asarray(total, dtype=first.dtype)
        else:
            # asarray: of arrays without axes, numpy makes scalars
            result[name] = np.asarray(np.maximum.reduce([state[name] for state in states]), dtype=first.dtype)
    return result


def seed_of(seed: int, number: int, client: str) -> int:
    """A seed for one client in one round, below 2^63, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{client}".encode()).digest()[:8], "big") >> 1
