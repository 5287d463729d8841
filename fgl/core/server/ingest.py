"""Files that clients hand over: uploads or, in a run of votes, votes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.server import refusals, senders
from fgl.core.server.encoding import Encoding, expectation
from fgl.core.server.noted import Noted
from fgl.core.server.removed import refresh, removed_clients
from fgl.core.server.upload_store import kept
from fgl.core.server.uploads import accept
from fgl.core.server.vote_intake import VoteIntake
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import envelopes, requests, upload_reader
from fgl.errors import UploadError, UploadReplayError, UploadSizeError

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    from fgl.core.session import Session

KIND = "upload"


def ingest(
    session: Session,
    clients: Sequence[str],
    files: Iterable[Path],
    replace: bool = False,
    identity: Identity | None = None,
) -> dict[str, dict[str, str]]:
    """Validate each file and keep those that are accepted; the others do not stop it.

    clients: ids that may answer. replace: whether another file of the same client takes the place of an earlier one.
    identity: the server's private key, which opens sealed files.
    Returns file → {"client", "outcome" ("accepted", "already there", "refused" or "unreadable"), "rule", "reason"}."""
    refresh(session)
    votes = session.config.votes.rounds > 0
    intake = VoteIntake(session, clients, replace) if votes else _UploadIntake(session, clients, replace)
    found: dict[str, dict[str, str]] = {}
    with session.progress.track("ingest", 0, "files") as task:
        for path in files:
            try:
                found_there = envelopes.raw(path, intake.max_bytes)
            except OSError as error:
                found[str(path)] = {"client": "", "outcome": "unreadable", "rule": "", "reason": error.strerror or ""}
                continue
            # The run's own records hold no path of a sender: a refused file is known by its digest.
            name = f"file {hashlib.sha256(found_there.data).hexdigest()[:16]}"
            noted = intake.noted(found_there.sealed)
            try:
                envelope = envelopes.opened(found_there, intake.max_bytes, identity)
                client_id, outcome = intake.take(envelope, noted)
                refusals.remember(session.run, name, None)
                found[str(path)] = {"client": client_id, "outcome": outcome, "rule": "", "reason": ""}
            except UploadError as error:
                count = refusals.count(session.run) + 1
                note = refusals.refuse(session, name, error, count)
                if refusals.is_told(count):
                    noted.refused(session, hashlib.sha256(found_there.data).hexdigest(), note)
                refusals.remember(session.run, name, note)
                found[str(path)] = {"client": "", "outcome": "refused", **note}
            task.advance(1)
    return found


class _UploadIntake:
    """Uploads of a run, as `VoteIntake` has its votes."""

    def __init__(self, session: Session, clients: Sequence[str], replace: bool) -> None:
        self._session, self._replace = session, replace
        self._expected, self._encoding = expectation(session, clients), Encoding(session)
        self.max_bytes = self._expected.max_bytes

    def noted(self, sealed: bool) -> Noted:
        return Noted(kind=KIND, round=requests.ROUND, sealed=sealed)

    def take(self, envelope: envelopes.Envelope, noted: Noted) -> tuple[str, str]:
        session, expected = self._session, self._expected
        data, size = envelope.data, envelope.size
        if size > expected.max_bytes:
            raise UploadSizeError(
                f"refused: upload of {size} bytes; the cap is {expected.max_bytes} (upload.max_megabytes)"
            )
        noted.sender = senders.judge(
            session.config.server, data, envelope.block, kind=KIND, run=expected.run, round=expected.round
        )
        signed_by = None if noted.sender is None else noted.sender.client_id
        sender = upload_reader.decode(data, expected, signed_by).client_id
        if sender in session.removed_clients:
            raise UploadReplayError(f"refused: {sender} was taken out of this run (fgl server forget)")
        earlier = kept(session.run, sender)
        same = earlier is not None and earlier.sha256 == hashlib.sha256(data).hexdigest()
        # signed anew, after its key was replaced for example: by the old signature it may no longer be taken
        anew = (
            same and noted.sender is not None and earlier is not None and earlier.signature.encode() != envelope.block
        )
        if earlier is not None and same and not anew:
            noted.completed(session, sender, data)
            return sender, "already there"
        if earlier is not None and not same and not self._replace:
            raise UploadReplayError(
                f"refused: {sender} has already sent another upload for round {requests.ROUND}; --replace takes the "
                "new one"
            )
        accept(session, data, expected, sender, "", self._encoding, envelope.block)
        noted.accepted(session, sender, data, None if earlier is None else earlier.sha256)
        return sender, "accepted"


def missing(run: RunDir, clients: Sequence[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(removed_clients(run))
    return [name for name in clients if name not in out and kept(run, name) is None]
