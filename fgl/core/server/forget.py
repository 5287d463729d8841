"""Taking a client out of a run: all that the run holds of it is removed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.events import StageContext
from fgl.core.server import log, refusals, removed, vote_store
from fgl.core.server.upload_store import drop_upload
from fgl.core.store.run_dir import RunDir
from fgl.errors import UploadError
from fgl.io import event_log
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.session import Session


logger = logging.getLogger(__name__)


def forget(session: Session, clients: Sequence[str], client_id: str, left_over: Iterable[str] = ()) -> None:
    """Remove all that the run holds of a client, and take no upload of it again.

    Args:
        session: the run, held alone.
        clients: ids of all its clients.
        client_id: who is taken out.
        left_over: files and folders, relative to the run directory, that were made of uploads and that no stage of this
            configuration will replace.

    Raises UploadError where there is no such client."""
    if client_id not in clients:
        raise UploadError(f"there is no client {client_id!r} in this run; there are {', '.join(sorted(clients)[:20])}")
    # First the note, then the files: killed in between, the client is out, and the rest is removed by the next call.
    # Runs with other prompts, which are baselines of this one, hold uploads of the same clients.
    for run in (session.run, *session.run.nested_below("baselines")):
        removed.add(run, client_id)
        drop(run, [client_id])
        drop_audit(run)
        for place in _OF_SINGLE_CLIENTS:
            run.remove_below(run.path(*place.split("/")))
        vote_store.drop_rounds(run)
        # A stage's record is replaced when the stage runs again; this one names the client and what it held.
        run.forget_stage("clients")
        if log_left := event_log.redacted(run.root, client_id):
            run.write(run.path(event_log.NAME), log_left)
        refusals.forget(run, client_id)
        left = [path.relative_to(run.root) for path in run.path("clients", client_id).rglob("*") if path.is_file()]
        if left:
            names = plain(", ".join(map(str, left[:5])) + (", …" if len(left) > 5 else ""))
            logger.warning("left in %s, since fgl did not write it: %s", run.root, names)
    for place in left_over:
        session.run.remove(session.run.path(place))
        session.run.remove_below(session.run.path(place))
    removed.refresh(session)
    if session.remote_clients:
        log.forget(session.run, client_id, session.config.upload.run_id)
    session.events.client_forgotten(StageContext(str(session.run.root), "clients"), client_id)


_OF_SINGLE_CLIENTS = ("adaptation", "rounds/adapter")
"""What holds the adapters of single clients beside each other: that of a client that is taken out goes at once, and
does not wait until they are made again without it. So do votes, see `vote_store`."""
_STAYS = (
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "server/remote-clients.json",
    "server/log.jsonl",
    "server/log-head.json",
    "server/log-details.jsonl",
    "server/forgotten.json",
    "forgotten.json",
)
"""What a run is, and who was taken out of it: it is of no stage."""


def clear(run: RunDir, given: Iterable[str]) -> None:
    """Remove all that was made of uploads, where too few are left to make it again. given: files and folders with what
    clients gave, which stay; whatever else is there goes, also what no stage of this version states."""
    stays = (*_STAYS, *given)
    for each in (run, *run.nested_below("baselines")):
        nested = [f"baselines/{inner.root.name}" for inner in each.nested_below("baselines")]
        each.remove_all(*map(each.path, (*stays, *nested)))


def drop_audit(run: RunDir) -> None:
    """Remove what an audit has found and kept: it shows images and prompts of clients, and names them."""
    run.remove_below(run.path("audit"))
    run.remove(*(path for path in run.owned("stages") if path.name.startswith("audit-")))


def drop(run: RunDir, clients: Iterable[str]) -> None:
    """Remove clients' uploads, votes that came as files and, in a simulation, what they kept."""
    for client_id in clients:
        drop_upload(run, client_id)
        vote_store.drop_votes(run, client_id)
        run.remove_below(run.path("clients", client_id))
