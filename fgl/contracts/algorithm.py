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
    """What the server holds between two rounds of federated training."""

    model: Mapping[str, Array]
    """Parameters and buffers by name (see `TrainedClassifier.state`)."""

    trained: tuple[str, ...]
    """Names of the arrays that an optimizer changes; the others are buffers, such as BatchNorm's running statistics."""

    algorithm_state: Mapping[str, Array] = field(default_factory=dict)
    """The algorithm's arrays beside the model, such as moments or a control variate."""


@dataclass(frozen=True, slots=True)
class LocalJob:
    """What `Algorithm.local` receives: one client's part of a round."""

    client_id: str
    """The client that it runs at."""

    round: int
    """Number of the round, from 1."""

    start: Mapping[str, Array]
    """State of the global model."""

    extra: Mapping[str, Array]
    """What `Algorithm.broadcast` sent beside the model."""

    kept: Mapping[str, Array]
    """What this client kept in the last round that it took part in; empty before its first."""

    samples: int
    """Number of images that the client trains on."""

    fit: Callable[[TrainingHook | None], TrainedClassifier]
    """Trains from `start` over the local epochs, with the hook if one is given. May be called more than once."""


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What `Algorithm.local` returns: the result of one client's part of a round."""

    client_id: str
    """The client that it ran at."""

    samples: int
    """Number of images that the client trained on."""

    model: Mapping[str, Array]
    """State of the client's model. Sent to the server."""

    extra: Mapping[str, Array] = field(default_factory=dict)
    """Arrays that are sent to the server beside the model."""

    kept: Mapping[str, Array] = field(default_factory=dict)
    """Arrays that stay at the client until its next round."""

    loss: float = 0.0
    """Mean loss over the last local epoch."""


class Algorithm(Protocol):
    """A federated algorithm that trains by exchanging models, such as FedAvg.

    It holds no state between calls, since each call may run in another process: the server's state is in `GlobalState`,
    a client's in `LocalUpdate.kept`.
    """

    def start(self, model: Mapping[str, Array], trained: Sequence[str]) -> GlobalState:
        """The server's state before the first round. trained: names of the arrays that an optimizer changes."""

    def broadcast(self, state: GlobalState) -> Mapping[str, Array]:
        """Arrays to send to each client of a round beside the model."""

    def local(self, job: LocalJob) -> LocalUpdate:
        """The client's step. Runs at the client."""

    def reply(self, state: GlobalState) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the float32 arrays that a client must send beside its model. Replies are validated
        against them."""

    def aggregate(self, state: GlobalState, updates: Sequence[LocalUpdate], clients: int) -> GlobalState:
        """The server's step.

        Args:
            state: The state before this round.
            updates: At least one, in order of client id.
            clients: Number of all clients, including those that took no part in this round.
        """
