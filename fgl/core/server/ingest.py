"""Uploads that come as files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.server import log, refusals, senders
from fgl.core.server.encoding import Encoding, expectation
from fgl.core.server.removed import refresh, removed_clients
from fgl.core.server.upload_store import kept
from fgl.core.server.uploads import accept
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import envelopes, requests, upload_reader
from fgl.errors import UploadError, UploadReplayError, UploadSizeError

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    from fgl.core.server.senders import Sender
    from fgl.core.session import Session

KIND = "upload"
"""Of the files that are ingested, as their signatures call it; see `fgl.core.wire.kinds`."""


def ingest(
    session: Session,
    clients: Sequence[str],
    files: Iterable[Path],
    replace: bool = False,
    identity: Identity | None = None,
) -> dict[str, dict[str, str]]:
    """Validate each file and keep those that are accepted; the others do not stop it.

    clients: ids that may answer. replace: whether another upload of the same client takes the place of an earlier one.
    identity: the server's private key, which opens sealed files.
    Returns file → {"client", "outcome" ("accepted", "already there", "refused" or "unreadable"), "rule", "reason"}."""
    refresh(session)
    expected, encoding = expectation(session, clients), Encoding(session)
    found: dict[str, dict[str, str]] = {}
    with session.progress.track("ingest", 0, "files") as task:
        for path in files:
            try:
                found_there = envelopes.raw(path, expected.max_bytes)
            except OSError as error:
                found[str(path)] = {"client": "", "outcome": "unreadable", "rule": "", "reason": error.strerror or ""}
                continue
            # The run's own records hold no path of a sender: a refused file is known by its digest.
            name = f"file {hashlib.sha256(found_there.data).hexdigest()[:16]}"
            noted = _Noted(sealed=found_there.sealed)
            try:
                envelope = envelopes.opened(found_there, expected.max_bytes, identity)
                client_id, outcome = _ingest(session, expected, envelope, replace, encoding, noted)
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


@dataclass
class _Noted:
    """What the server's record says of one file. sender: None until its signature has been verified."""

    sealed: bool
    sender: Sender | None = None

    def _what(self) -> dict[str, object]:
        proven = {} if self.sender is None else {"key": self.sender.key, "approved_by": self.sender.approved_by or None}
        return {"kind": KIND, "round": requests.ROUND, **proven, "sealed": self.sealed}

    def accepted(self, session: Session, client_id: str, data: bytes, replaces: str | None) -> None:
        record = {"client": client_id, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        run_id = session.config.upload.run_id
        log.add(session.run, log.ACCEPTED, run_id, **record, **self._what(), replaces=replaces)

    def refused(self, session: Session, sha256: str, note: dict[str, str]) -> None:
        """sha256: of the file as it came. A client is named only where its signature proves it."""
        client_id = None if self.sender is None else self.sender.client_id
        run_id = session.config.upload.run_id
        log.add(session.run, log.REFUSED, run_id, client=client_id, file_sha256=sha256, **self._what(), **note)


def _ingest(
    session: Session,
    expected: upload_reader.UploadPolicy,
    envelope: envelopes.Envelope,
    again: bool,
    encoding: Encoding,
    noted: _Noted,
) -> tuple[str, str]:
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
    anew = same and noted.sender is not None and earlier is not None and earlier.signature.encode() != envelope.block
    if earlier is not None and same and not anew:
        if not log.has_accepted(session.run, sender, earlier.sha256):  # killed before it was noted
            noted.accepted(session, sender, data, None)
        return sender, "already there"
    if earlier is not None and not same and not again:
        raise UploadReplayError(
            f"refused: {sender} has already sent another upload for round {requests.ROUND}; --replace takes the new one"
        )
    accept(session, data, expected, sender, "", encoding, envelope.block)
    noted.accepted(session, sender, data, None if earlier is None else earlier.sha256)
    return sender, "accepted"


def missing(run: RunDir, clients: Sequence[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(removed_clients(run))
    return [name for name in clients if name not in out and kept(run, name) is None]
