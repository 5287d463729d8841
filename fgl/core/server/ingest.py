"""Uploads that come as files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.server import refusals
from fgl.core.server.encoding import Encoding, expectation
from fgl.core.server.removed import refresh, removed_clients
from fgl.core.server.upload_store import kept
from fgl.core.server.uploads import accept
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import requests, upload_reader
from fgl.errors import UploadError, UploadReplayError, UploadSizeError
from fgl.io import files as io_files

if TYPE_CHECKING:
    from fgl.core.session import Session


def ingest(
    session: Session, clients: Sequence[str], files: Iterable[Path], replace: bool = False
) -> dict[str, dict[str, str]]:
    """Validate each file and keep those that are accepted; the others do not stop it.

    clients: ids that may answer. replace: whether another upload of the same client takes the place of an earlier one.
    Returns file → {"client", "outcome" ("accepted", "already there", "refused" or "unreadable"), "rule", "reason"}."""
    refresh(session)
    expected, encoding = expectation(session, clients), Encoding(session)
    found: dict[str, dict[str, str]] = {}
    with session.progress.track("ingest", 0, "files") as task:
        for path in files:
            try:
                # one byte beyond the cap tells a larger file, whatever its length is said to be
                with io_files.open_regular(path) as file:
                    data = file.read(expected.max_bytes + 1)
                    size = max(len(data), os.fstat(file.fileno()).st_size)
            except OSError as error:
                found[str(path)] = {"client": "", "outcome": "unreadable", "rule": "", "reason": error.strerror or ""}
                continue
            # The run's own records hold no path of a sender: a refused file is known by its digest.
            name = f"file {hashlib.sha256(data).hexdigest()[:16]}"
            try:
                client_id, outcome = _ingest(session, expected, data, size, replace, encoding)
                refusals.remember(session.run, name, None)
                found[str(path)] = {"client": client_id, "outcome": outcome, "rule": "", "reason": ""}
            except UploadError as error:
                note = refusals.refuse(session, name, error, refusals.count(session.run) + 1)
                refusals.remember(session.run, name, note)
                found[str(path)] = {"client": "", "outcome": "refused", **note}
            task.advance(1)
    return found


def _ingest(
    session: Session, expected: upload_reader.UploadPolicy, data: bytes, size: int, again: bool, encoding: Encoding
) -> tuple[str, str]:
    if size > expected.max_bytes:
        raise UploadSizeError(
            f"refused: upload of {size} bytes; the cap is {expected.max_bytes} (upload.max_megabytes)"
        )
    sender = upload_reader.decode(data, expected).client_id
    if sender in session.removed_clients:
        raise UploadReplayError(f"refused: {sender} was taken out of this run (fgl server forget)")
    earlier = kept(session.run, sender)
    if earlier is not None and earlier.sha256 == hashlib.sha256(data).hexdigest():
        return sender, "already there"
    if earlier is not None and not again:
        raise UploadReplayError(
            f"refused: {sender} has already sent another upload for round {requests.ROUND}; --replace takes the new one"
        )
    accept(session, data, expected, sender, "", encoding)
    return sender, "accepted"


def missing(run: RunDir, clients: Sequence[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(removed_clients(run))
    return [name for name in clients if name not in out and kept(run, name) is None]
