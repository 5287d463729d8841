"""One round's updates: asked for, accepted or refused one by one, and bounded beside each other before the average.

A client that fails, diverges or sends what cannot be used is named with the reason and left out; the others count.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.contracts.progress import NullProgress
from fgl.core.server import upload_store
from fgl.core.server.ask import ask as ask_clients
from fgl.core.store.typed import JsonObject
from fgl.core.wire import requests
from fgl.core.wire import updates as wire_updates
from fgl.errors import ClientFailedError, KeptLostError, UploadError, UploadNormError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.federation import Federation
    from fgl.core.session import Session


log = logging.getLogger(__name__)
# Fewer updates than this have no median that a single client could not set.
_FEWEST = 3
# An algorithm's own arrays, such as the gradients of a control variate, differ more between honest clients than models.
_BESIDE = 10.0


class RoundEntry(TypedDict):
    """What happened in a round; see `fgl.core.report.scores.Round`."""

    round: int
    clients: list[str]
    dropped: list[str]
    failed: dict[str, str]
    samples: int
    loss: float | None
    bytes_down: int
    bytes_up: int
    local: NotRequired[dict[str, JsonObject]]
    server_loss: NotRequired[float]
    counts: NotRequired[JsonObject]
    rule: NotRequired[JsonObject]
    capped: NotRequired[dict[str, int]]
    top1: NotRequired[float | None]
    seconds: NotRequired[float]


class LostError(Exception):
    """A client no longer has what the server's state says that it keeps: these rounds cannot be resumed."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id)
        self.client_id = client_id


@dataclass(frozen=True, slots=True)
class Ask:
    """How the clients of a track are asked. samples: client → most that it may claim. kept: client → digest of what it
    keeps from earlier rounds. ratio: see `too_large`. lost: whether a client that lost what it kept ends the round
    (LostError) and is not merely one that failed."""

    training: requests.Training | requests.AdapterTraining
    federation: Federation
    samples: Mapping[str, int]
    kept: Mapping[str, str]
    ratio: float
    lost: bool


def collect(
    session: Session,
    ask: Ask,
    number: int,
    state: GlobalState,
    extra: Mapping[str, Array],
    wanted: Mapping[str, tuple[int, ...]],
    asked: Sequence[str],
    entry: RoundEntry,
) -> list[tuple[LocalUpdate, str]]:
    """(update, digest of what its client keeps) of each client whose answer can be used. extra, wanted: what the
    algorithm sends beside the model and expects back. entry: the round's, whose bytes and failures are filled in."""
    run_id = session.config.upload.run_id
    accepted: list[tuple[LocalUpdate, str]] = []
    sent: list[int] = []  # the models: what a request has around one is no part of the algorithm's traffic

    def request(client_id: str) -> bytes:
        header = wire_updates.Header(run_id, client_id, number, kept=ask.kept.get(client_id, ""))
        message = wire_updates.encode(header, state.model, extra)
        sent.append(len(message))
        private = upload_store.private_folder(session.run, client_id)
        return requests.train_request(ask.training, client_id, number, private, message, state.trained)

    def accept(client_id: str, reply: bytes) -> None:
        header = wire_updates.Header(run_id, client_id, number)
        expected = wire_updates.UpdatePolicy(header, state.model, wanted, ask.samples[client_id])
        accepted.append(wire_updates.accept(reply, expected))

    def refuse(client_id: str, error: UploadError) -> None:
        if isinstance(error, KeptLostError) and ask.lost:
            raise LostError(client_id) from None
        if isinstance(error, ClientFailedError):
            _fail(entry, number, client_id, str(error), "did not answer")
        else:
            _fail(entry, number, client_id, f"rule {error.rule}: {error}", "is left out")

    traffic = ask_clients(ask.federation, asked, ask.training.task, request, accept, refuse, NullProgress())
    entry["bytes_up"] += traffic.up
    entry["bytes_down"] += sum(sent)
    large = too_large([update for update, _ in accepted], state, ask.ratio)
    for client_id, refusal in large.items():
        _fail(entry, number, client_id, f"rule {refusal.rule}: {refusal}", "is left out")
    return [each for each in accepted if each[0].client_id not in large]


def _fail(entry: RoundEntry, number: int, client_id: str, reason: str, what: str) -> None:
    entry["failed"][client_id] = reason
    log.warning("round %d: %s %s: %s", number, client_id, what, reason)


def diverged(reasons: Mapping[str, str]) -> bool:
    """Whether all failed as training at too high a rate does: by their own word, or by NaN, infinite or huge values."""
    return all(reason.startswith(("rule diverged:", "rule value:", "rule norm:")) for reason in reasons.values())


def too_large(updates: Sequence[LocalUpdate], state: GlobalState, ratio: float) -> dict[str, UploadNormError]:
    """Updates that lie so far from the model that was sent that no average with them would be of use.

    Distances are Euclidean, of the trained arrays, of the buffers, and of what is sent beside the model. The bound is
    `ratio` times the norm of the model, or times the median distance of all where that is more; a client with more
    samples than the median takes more steps, and may go as many times further than it. So an honest client whose
    batches of one image throw it about is kept, and what would drown the average is not. Of fewer than three updates no
    median is to be trusted; there, each element of the model counts as 1 at least."""
    floating = {name: array for name, array in state.model.items() if np.issubdtype(array.dtype, np.floating)}
    own = {name: array for name, array in floating.items() if name in state.trained}
    buffers = {name: array for name, array in floating.items() if name not in own}
    found: dict[str, UploadNormError] = {}
    for what, start, far, factor in (
        ("its weights lie", own, [_norm(update.model, own) for update in updates], 1.0),
        ("its buffers lie", buffers, [_norm(update.model, buffers) for update in updates], 1.0),
        ("the arrays beside its model lie", own, [_norm(update.extra, None) for update in updates], _BESIDE),
    ):
        for update, distance, bound in zip(updates, far, _bounds(updates, far, start, ratio * factor), strict=True):
            if distance > bound:
                said = f"refused: {what} {distance:.3g} from what was sent; the bound is {bound:.3g}"
                found.setdefault(update.client_id, UploadNormError(f"{said} (rounds.max_update_ratio)"))
    return found


def _bounds(
    updates: Sequence[LocalUpdate], far: Sequence[float], start: Mapping[str, Array], ratio: float
) -> list[float]:
    own = _norm(start, None)
    if len(updates) < _FEWEST:
        size = sum(array.size for array in start.values())
        return [ratio * max(own, float(np.sqrt(size)), 1.0)] * len(updates)
    middle, samples = float(np.median(far)), float(np.median([update.samples for update in updates]))
    return [ratio * max(own, middle * max(1.0, update.samples / samples)) for update in updates]


def _norm(arrays: Mapping[str, Array], start: Mapping[str, Array] | None) -> float:
    """Norm of the arrays, or of their distance from those of `start`, in float64."""
    names = arrays if start is None else start
    total = 0.0
    for name in names:
        array = np.asarray(arrays[name], dtype=np.float64)
        total += float(np.square(array if start is None else array - start[name]).sum())
    return float(np.sqrt(total))
