"""Federated algorithms: a step at the client and a step at the server around the classifier's training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import TrainedClassifier, TrainingHook


@dataclass(frozen=True, slots=True)
class GlobalState:
    """What the server of a federated training holds between two rounds.

    model: parameters and buffers by name (see `TrainedClassifier.state`). trained: names of those that an optimizer
    changes; the others are buffers, such as BatchNorm's running statistics. algorithm_state: the algorithm's arrays
    beside the model, such as moments or a control variate.
    """

    model: Mapping[str, Array]
    trained: tuple[str, ...]
    algorithm_state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LocalJob:
    """What a client's part of a round is given.

    round: from 1. start: the global model. extra: what `Algorithm.broadcast` sent beside it. kept: what this client
    kept in the last round that it took part in, empty before. samples: images it trains on. fit: trains from `start`
    over the local epochs, with a hook where one is given; may be called more than once.
    """

    client_id: str
    round: int
    start: Mapping[str, Array]
    extra: Mapping[str, Array]
    kept: Mapping[str, Array]
    samples: int
    fit: Callable[[TrainingHook | None], TrainedClassifier]


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What a client's part of a round yields. model: its state, sent up. extra: arrays that are sent up beside it.
    kept: arrays that stay at the client until its next round. loss: mean over the last local epoch."""

    client_id: str
    samples: int
    model: Mapping[str, Array]
    extra: Mapping[str, Array] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)
    loss: float = 0.0


class Algorithm(Protocol):
    """A federated algorithm that trains by exchanging models: FedAvg and its kin. Holds no state of its own between
    calls: the server's is in `GlobalState`, a client's in what it kept, and each may be in another process."""

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        """The server's state before the first round. trained: names of the arrays that optimizers change."""

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        """Arrays that go down to each client of a round beside the model."""

    def local(self, job: LocalJob) -> LocalUpdate:
        """The client's step. Runs at the client."""

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the float32 arrays that a client must send up beside its model: what comes is checked
        against this."""

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        """The server's step. updates: at least one, in order of client id. clients: how many there are in all, those
        that took no part in this round among them."""
