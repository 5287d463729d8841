"""Rounds of a federated algorithm at sizes that can be looked at: a model to follow with pencil and paper (`Point`),
and a small network of torch's own layers, with batch normalization, on pictures of 2x2 pixels (`Pictures`).

What crosses between server and clients does so as bytes, through the same format and the same checks as in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fgl.contracts.algorithm import GlobalState, LocalJob
from fgl.core.wire import updates

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm, LocalUpdate
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import TrainedClassifier, TrainingHook


_CLASSES = 3


@dataclass(frozen=True)
class Point:
    """A client whose loss is ½ · ‖w - target‖², trained by gradient descent: after every step all is known exactly.

    lr, steps, momentum: of torch's SGD. The gradient at w is w - target.
    """

    target: Sequence[float]
    samples: int = 1
    lr: float = 0.1
    steps: int = 1
    momentum: float = 0.0

    def fit(self, start: Mapping[str, Array], hook: TrainingHook | None) -> Any:
        """A stand-in for a `TrainedClassifier` with the state and history that algorithms look at."""
        import torch

        model = torch.nn.Module()
        model.register_parameter("w", torch.nn.Parameter(torch.tensor(start["w"])))
        model.register_buffer("count", torch.tensor(start["count"]))
        optimizer = torch.optim.SGD(model.parameters(), self.lr, momentum=self.momentum)
        target = torch.tensor(self.target, dtype=torch.float32)
        loss = 0.0
        for _ in range(self.steps):
            value = (model.w - target).square().sum() / 2  # type: ignore[operator]
            loss = float(value.detach())
            if hook is not None:
                term = hook.loss(model, torch.zeros(1, 3, 1, 1), model.w[None], torch.zeros(1, dtype=torch.int64))  # type: ignore[index]
                value = value if term is None else value + term
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            if hook is not None:
                hook.gradients(model, self.lr)
            optimizer.step()
        state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
        return Fitted({**state, "count": np.asarray(state["count"] + self.steps)}, ("w",), loss)


@dataclass(frozen=True)
class Pictures:
    """A client with pictures of 2x2 pixels in three classes, float32 [samples, 3, 2, 2], on which a network is trained
    by torch's SGD, all of them in each step. shift: makes one client's pictures others than another's."""

    samples: int = 12
    shift: float = 0.0
    seed: int = 0
    lr: float = 0.05
    steps: int = 3

    def data(self) -> tuple[Any, Any]:
        """(pictures, labels int64 [samples])."""
        import torch

        draw = np.random.default_rng(self.seed)
        labels = np.arange(self.samples) % _CLASSES
        pixels = draw.normal(self.shift, 0.3, (self.samples, 3, 2, 2))
        pixels[np.arange(self.samples), labels] += 1.0  # each class has a colour
        return torch.tensor(pixels, dtype=torch.float32), torch.tensor(labels)

    def fit(self, start: Mapping[str, Array], hook: TrainingHook | None) -> Any:
        """A stand-in for a `TrainedClassifier` with what algorithms look at."""
        import torch

        model, (images, labels) = network(start), self.data()
        optimizer = torch.optim.SGD(model.parameters(), self.lr)
        loss = 0.0
        for _ in range(self.steps):
            logits = model(images).logits
            value = torch.nn.functional.cross_entropy(logits, labels)
            loss = float(value.detach())
            term = None if hook is None else hook.loss(model, images, logits, labels)
            optimizer.zero_grad()
            (value if term is None else value + term).backward()
            if hook is not None:
                hook.gradients(model, self.lr)
            optimizer.step()
        return Fitted(state_of(model), tuple(name for name, _ in model.named_parameters()), loss)

    def loss(self, model: Mapping[str, Array]) -> float:
        """Mean cross-entropy of a model on this client's pictures."""
        import torch

        images, labels = self.data()
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(network(model).eval()(images).logits, labels))


def network(state: Mapping[str, Array] | None = None) -> Any:
    """Linear, BatchNorm, ReLU, Linear; called with pictures it returns an object with `logits`, as the models of
    transformers do. state: its arrays; None for the same random ones each time."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(12, 6)
            self.norm = torch.nn.BatchNorm1d(6)
            self.head = torch.nn.Linear(6, _CLASSES)

        def forward(self, pictures: Any) -> Any:
            features = torch.relu(self.norm(self.body(pictures.flatten(1))))
            return SimpleNamespace(logits=self.head(features))

    model = Network()
    if state is None:
        draw = np.random.default_rng(0)
        state = {
            name: draw.normal(0, 0.3, array.shape).astype(np.float32)
            if array.ndim == 2
            else np.zeros_like(array)
            if name.endswith("bias")
            else array
            for name, array in state_of(model).items()
        }
    # asarray: of arrays without axes, numpy makes scalars
    model.load_state_dict({name: torch.tensor(np.asarray(array)) for name, array in state.items()})
    return model.train()


def state_of(model: Any) -> dict[str, Array]:
    return {name: np.asarray(tensor.detach().numpy().copy()) for name, tensor in model.state_dict().items()}


class Client(Protocol):
    """What a federation trains at: `Point` or `Pictures`."""

    @property
    def samples(self) -> int: ...

    def fit(self, start: Mapping[str, Array], hook: TrainingHook | None) -> Any: ...


@dataclass(frozen=True)
class Fitted:
    model: Mapping[str, Array]
    names: tuple[str, ...]
    loss: float

    def state(self, which: str) -> Mapping[str, Array]:
        return self.model

    def trained(self) -> Sequence[str]:
        return self.names

    def history(self) -> Sequence[Mapping[str, float]]:
        return [{"epoch": 1.0, "loss": self.loss}]


def first_model(width: int = 2) -> dict[str, Array]:
    """A parameter `w` of zeros, and a buffer `count` as BatchNorm has one."""
    return {"w": np.zeros(width, np.float32), "count": np.array(0, np.int64)}


@dataclass
class Federation:
    """Runs an algorithm's rounds over clients. kept: what each client keeps; updates: what came up in the last round;
    sent: the arrays that went down beside the model in it."""

    make: Callable[[], Algorithm]
    clients: Mapping[str, Client]
    kept: dict[str, Mapping[str, Array]] = field(default_factory=dict)
    updates: list[LocalUpdate] = field(default_factory=list)
    sent: Mapping[str, Array] = field(default_factory=dict)

    def start(self, model: Mapping[str, Array] | None = None) -> GlobalState:
        if any(isinstance(client, Pictures) for client in self.clients.values()):
            net = network(model)
            return self.make().start(state_of(net), tuple(name for name, _ in net.named_parameters()))
        return self.make().start(first_model() if model is None else model, ("w",))

    def round(self, state: GlobalState, number: int = 1, present: Sequence[str] | None = None) -> GlobalState:
        """One round with the clients that are present, all by default. Each step has an object of its own."""
        self.updates = []
        self.sent = self.make().broadcast(state)
        for client_id in sorted(self.clients if present is None else present):
            message = updates.encode(updates.Header("", client_id, number), state.model, self.sent)
            self.updates.append(self._client(client_id, number, message, state))
        return self.make().aggregate(state, self.updates, len(self.clients))

    def run(self, rounds: int) -> GlobalState:
        state = self.start()
        for number in range(1, rounds + 1):
            state = self.round(state, number)
        return state

    def _client(self, client_id: str, number: int, message: bytes, state: GlobalState) -> LocalUpdate:
        point = self.clients[client_id]
        model, extra, _ = updates.received(message)

        def fit(hook: TrainingHook | None) -> TrainedClassifier:
            found: TrainedClassifier = point.fit(model, hook)
            return found

        job = LocalJob(client_id, number, model, extra, self.kept.get(client_id, {}), point.samples, fit)
        update = self.make().local(job)
        self.kept[client_id] = update.kept
        header = updates.Header("", client_id, number, update.samples, update.loss)
        reply = updates.encode(header, update.model, update.extra)
        return updates.accept(reply, updates.UpdatePolicy(header, state.model, self.make().reply(state)))[0]


if not TYPE_CHECKING:  # else mypy takes any name for one that is there

    def __getattr__(name: str) -> Any:
        if name == "AlgorithmContract":  # where it was before there was a contract for every family
            import warnings
            from importlib import import_module  # the contracts import this module

            warnings.warn("import AlgorithmContract from fgl.testing.contracts", DeprecationWarning, stacklevel=2)
            return import_module("fgl.testing.contracts").AlgorithmContract
        raise AttributeError(f"module 'fgl.testing.federated' has no attribute {name!r}")
