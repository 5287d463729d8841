"""MOON: the representation is drawn to the global model's and pushed from the client's own of its last round."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from fgl import GlobalState, LocalJob, LocalUpdate

if TYPE_CHECKING:
    from fgl import Array

    from fgl_moon.options import MoonOptions


class Moon:
    """Li, He, Song 2021, Model-Contrastive Federated Learning (arXiv 2103.16257), algorithm 1.

    A client keeps the model of its last round, and the server averages models as FedAvg does.
    """

    def __init__(self, options: MoonOptions) -> None:
        self.options = options

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        return GlobalState(model, tuple(trained))

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        return {}

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        return {}

    def local(self, job: LocalJob) -> LocalUpdate:
        hook = Contrast(job.start, job.kept or job.start, self.options) if self.options.mu else None
        fitted = job.fit(hook)
        state, history = fitted.state("last"), fitted.history()
        loss = float(history[-1]["loss"]) if history else 0.0
        return LocalUpdate(job.client_id, job.samples, state, kept=state, loss=loss)

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        return replace(state, model=mean(updates, [update.samples for update in updates]))


class Contrast:
    """The term that MOON adds to the loss of each step. One object for each fit."""

    def __init__(self, start: Mapping[str, Array], previous: Mapping[str, Array], options: MoonOptions) -> None:
        self._states, self._options = (start, previous), options
        self._others: list[torch.nn.Module] = []
        self._features: torch.Tensor | None = None

    def loss(self, model: Any, images: Any, logits: Any, labels: Any) -> Any:
        if not self._others:
            self._others = [self._copy(model, state) for state in self._states]
            # the forward pass of this first step is over: read its representation from another one
            features: torch.Tensor | None = _representation(model, images)
            last_linear(model).register_forward_pre_hook(self._read)
        else:
            features = self._features
        self._features = None
        assert features is not None, "the model was not called before its loss"
        with torch.no_grad(), _autocast(images, features.dtype):
            others = [_representation(other, images).float() for other in self._others]
        near = torch.stack([F.cosine_similarity(features.float(), other) for other in others], 1)
        target = torch.zeros(len(near), dtype=torch.int64, device=near.device)  # the global model, not the previous one
        return self._options.mu * F.cross_entropy(near / self._options.temperature, target)

    def gradients(self, model: Any, lr: float) -> None:
        return None

    def _read(self, layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if layer.training:
            self._features = given[0].flatten(1)

    @staticmethod
    def _copy(model: torch.nn.Module, state: Mapping[str, Array]) -> torch.nn.Module:
        other = copy.deepcopy(model).eval().requires_grad_(False)
        other.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
        return other


def last_linear(model: torch.nn.Module) -> torch.nn.Linear:
    """The layer whose input is the representation. Raises ValueError for a model without any."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    if not layers:
        raise ValueError(f"MOON reads the input of the last linear layer, and {type(model).__name__} has none")
    return layers[-1]


def _representation(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Input of the last linear layer, [n, d]. Buffers, such as BatchNorm's running statistics, stay as they are."""
    read: list[torch.Tensor] = []
    handle = last_linear(model).register_forward_pre_hook(lambda _, given: read.append(given[0].flatten(1)))
    try:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        torch.func.functional_call(model, buffers, (images,))
    finally:
        handle.remove()
    return read[0]


def _autocast(images: torch.Tensor, dtype: torch.dtype) -> torch.autocast:
    """The precision that the model trains in."""
    low = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(images.device.type, dtype=dtype if low else torch.bfloat16, enabled=low)


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
