"""MOON and FedDyn, as an author outside of the project would write them, pass the contract as they stand.

Both use what the toy model of the contract once lacked: `TrainedClassifier.trained`, a model that can be called, and
layers to look into.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from fgl.contracts.algorithm import GlobalState, LocalJob, LocalUpdate
from fgl.testing.contracts import AlgorithmContract

Arrays = Mapping[str, Any]


def mean(updates: Sequence[LocalUpdate]) -> dict[str, Any]:
    total = sum(update.samples for update in updates)
    found = {}
    for name, first in updates[0].model.items():
        if np.issubdtype(first.dtype, np.floating):
            array = sum(update.samples / total * update.model[name].astype(np.float64) for update in updates)
        else:
            array = max(update.model[name] for update in updates)
        found[name] = np.asarray(array, dtype=first.dtype)
    return found


class Moon:
    """Li et al. 2021, Model-Contrastive Federated Learning: the representation is drawn to the global model's and
    away from the client's own of the round before."""

    def start(self, model: Arrays, trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained))

    def broadcast(self, state: GlobalState) -> Arrays:
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {}

    def local(self, job: LocalJob) -> LocalUpdate:
        fitted = job.fit(Contrast(job.start, job.kept or job.start))
        state = fitted.state("last")
        return LocalUpdate(job.client_id, job.samples, state, kept=state, loss=fitted.history()[-1]["loss"])

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        return replace(state, model=mean(updates))


class Contrast:
    def __init__(self, glob: Arrays, previous: Arrays) -> None:
        self.states, self.models = (glob, previous), []

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        if not self.models:
            for state in self.states:
                other = copy.deepcopy(model).eval()
                other.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
                self.models.append(other)
        own = representation(model, images)
        with torch.no_grad():
            others = [representation(other, images) for other in self.models]
        near = torch.stack([cosine_similarity(own, other) for other in others], 1) / 0.5
        return 0.1 * cross_entropy(near, torch.zeros(len(images), dtype=torch.int64))

    def gradients(self, model: Any, lr: float) -> None:
        return None


def representation(model: Any, images: Any) -> Any:
    """What the last linear layer reads."""
    read: list[Any] = []
    head = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    handle = head.register_forward_pre_hook(lambda _, given: read.append(given[0].flatten(1)))
    try:
        assert model(images).logits.shape[0] == len(images)
    finally:
        handle.remove()
    return read[0]


class FedDyn:
    """Acar et al. 2021, Federated Learning Based on Dynamic Regularization; alpha is small, as there."""

    alpha = 0.01

    def start(self, model: Arrays, trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained), {name: np.zeros_like(model[name]) for name in trained})

    def broadcast(self, state: GlobalState) -> Arrays:
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {}

    def local(self, job: LocalJob) -> LocalUpdate:
        fitted = job.fit(Dynamic(job.start, job.kept, self.alpha))
        state = fitted.state("last")
        kept = {
            name: np.asarray(job.kept.get(name, 0.0) - self.alpha * (state[name] - job.start[name]), np.float32)
            for name in fitted.trained()
        }
        return LocalUpdate(job.client_id, job.samples, state, {}, kept, fitted.history()[-1]["loss"])

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        model, own = mean(updates), {}
        for name in state.trained:
            moved = sum(update.model[name] - state.model[name] for update in updates)
            own[name] = np.asarray(state.algorithm_state[name] - self.alpha * moved / clients, np.float32)
            model[name] = np.asarray(model[name] - own[name] / self.alpha, np.float32)
        return GlobalState(model, state.trained, own)


class Dynamic:
    def __init__(self, start: Arrays, kept: Arrays, alpha: float) -> None:
        self.start, self.kept, self.alpha = start, kept, alpha

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        """The linear term, which may well be below zero."""
        terms = [
            -(torch.tensor(self.kept[name]) * weight).sum()
            for name, weight in model.named_parameters()
            if name in self.kept
        ]
        return sum(terms) if terms else None

    @torch.no_grad()
    def gradients(self, model: Any, lr: float) -> None:
        for name, weight in model.named_parameters():
            weight.grad.add_(weight - torch.tensor(self.start[name]), alpha=self.alpha)


class TestMoon(AlgorithmContract):
    make = staticmethod(Moon)


class TestFedDyn(AlgorithmContract):
    make = staticmethod(FedDyn)
