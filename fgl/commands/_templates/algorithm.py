"""A federated algorithm: a client step and a server step around local training. Here a part of each average is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from fgl import Array, GlobalState, LocalJob, LocalUpdate, Options
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `algorithm:`."""

    step: float = Field(
        0.9, gt=0, le=1, description="How far the model moves towards the clients' average; 1 is FedAvg."
    )


class Mine:
    """Holds no state between calls: the server's is in `GlobalState`, a client's in `LocalUpdate.kept`."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained))

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        """What goes to clients beside the model."""
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        """What clients send beside the model: names and shapes."""
        return {}

    def local(self, job: LocalJob) -> LocalUpdate:
        """Runs at the client. `job.fit` takes a `TrainingHook` that changes the loss or the gradients."""
        model = job.fit(None)
        history = model.history()
        loss = float(history[-1]["loss"]) if history else 0.0
        return LocalUpdate(job.client_id, job.samples, model.state("last"), loss=loss)

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        """Names, shapes and dtypes of the model stay as they are."""
        shares = np.array([update.samples for update in updates], dtype=np.float64)
        shares /= shares.sum()
        model = {}
        for name, before in state.model.items():
            arrays = [update.model[name] for update in updates]
            if np.issubdtype(before.dtype, np.floating):
                mean = sum(share * array.astype(np.float64) for share, array in zip(shares, arrays, strict=True))
                model[name] = np.asarray(before + self.options.step * (mean - before)).astype(before.dtype)
            else:  # counters, such as those of batch normalization
                model[name] = np.asarray(np.maximum.reduce(arrays), dtype=before.dtype)
        return replace(state, model=model)
