"""Ask clients on how many of their own images a model is right: weights go down, counts come up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.contracts.progress import NullProgress
from fgl.core.server import upload_store
from fgl.core.server.ask import Traffic, ask
from fgl.core.server.refusals import Refusal
from fgl.core.wire import replies, requests

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.federation import Federation
    from fgl.contracts.progress import Progress
    from fgl.core.session import Session
    from fgl.errors import UploadError


@dataclass(frozen=True, slots=True)
class Collected:
    """What the clients said."""

    counts: dict[str, replies.ImageCounts]
    """Client → its counts, of those whose counts can be true."""
    refused: dict[str, Refusal]
    """Client → why its counts were refused, or why it did not answer."""
    traffic: Traffic
    """What it took."""

    @property
    def right(self) -> int:
        """Images of all clients on which the model is right."""
        return sum(each.right for each in self.counts.values())

    @property
    def total(self) -> int:
        """Images of all clients that it was tested on."""
        return sum(each.total for each in self.counts.values())


def collect(
    session: Session,
    federation: Federation,
    clients: Sequence[str],
    weights: Mapping[str, Array],
    claimed: Mapping[str, Sequence[float]],
    per_class: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Send a classifier to each of the clients, and accept the counts that come back.

    Args:
        session: Of the run.
        federation: Carries the bytes.
        clients: Who is asked.
        weights: State of the classifier, by name.
        claimed: Client → most images that its counts may cover; by class where counts by class are asked for.
        per_class: Whether counts of each class are asked for, and not only those in all.
        progress: Shows who has answered.
    """
    config = session.config
    if config.evaluation.per_class != per_class:
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"per_class": per_class})})
    counts: dict[str, replies.ImageCounts] = {}
    refused: dict[str, Refusal] = {}

    def request(client_id: str) -> bytes:
        return requests.task_request(
            config,
            client_id,
            session.device,
            session.info.digest,
            weights,
            prepare=session.preparation.inputs(),
            private=str(upload_store.private_folder(session.run, client_id)),
        )

    def accept(client_id: str, reply: bytes) -> None:
        names = session.info.class_names
        counts[client_id] = replies.validate_counts(reply, client_id, names, per_class, claimed.get(client_id))

    def refuse(client_id: str, error: UploadError) -> None:
        refused[client_id] = Refusal(rule=error.rule, reason=str(error))

    traffic = ask(federation, clients, requests.EVALUATE, request, accept, refuse, progress or NullProgress())
    return Collected(counts, refused, traffic)
