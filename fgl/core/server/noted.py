"""What the server's record says of a file that was handed over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.core.server import log

if TYPE_CHECKING:
    from fgl.core.server.senders import Sender
    from fgl.core.session import Session


@dataclass
class Noted:
    """What the record says of one file. kind: as signatures call it; see `fgl.core.wire.kinds`. round: in which it was
    judged. sealed: whether it came so. sender: None until its signature has been verified."""

    kind: str
    round: int
    sealed: bool
    sender: Sender | None = None

    def _what(self) -> dict[str, object]:
        proven = {} if self.sender is None else {"key": self.sender.key, "approved_by": self.sender.approved_by or None}
        return {"kind": self.kind, "round": self.round, **proven, "sealed": self.sealed}

    def accepted(self, session: Session, client_id: str, data: bytes, replaces: str | None) -> None:
        """replaces: sha256 of the file in whose place it comes; None where there was none."""
        record = {"client": client_id, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        run_id = session.config.upload.run_id
        log.add(session.run, log.ACCEPTED, run_id, **record, **self._what(), replaces=replaces)

    def completed(self, session: Session, client_id: str, data: bytes) -> None:
        """Of a file that is kept already: record that it was accepted, where the process was killed before it was."""
        last = log.last_accepted(session.run, client_id, self.kind, self.round)
        key = None if self.sender is None else self.sender.key
        if last is None or (last.get("sha256"), last.get("key")) != (hashlib.sha256(data).hexdigest(), key):
            self.accepted(session, client_id, data, None if last is None else str(last.get("sha256")))

    def refused(self, session: Session, sha256: str, note: dict[str, str]) -> None:
        """sha256: of the file as it came. A client is named only where its signature proves it."""
        client_id = None if self.sender is None else self.sender.client_id
        run_id = session.config.upload.run_id
        log.add(session.run, log.REFUSED, run_id, client=client_id, file_sha256=sha256, **self._what(), **note)
