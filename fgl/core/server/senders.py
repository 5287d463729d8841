"""Whether a file is from the client that it names: the rule `sender`, before anything else of a file is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.core.wire import signatures
from fgl.errors import UploadError, UploadReplayError, UploadRoundError, UploadSenderError
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.core.config.server import ServerOptions
    from fgl.core.wire.signatures import Signature, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who has signed a file, as its signatures prove it."""

    client_id: str
    """The client."""
    key: str
    """With which public key."""
    approved_by: str
    """The public key of its approval; empty where there is none that counts."""


def judge(
    options: ServerOptions, data: bytes, block: bytes | None, *, kind: str, run: str, round: int
) -> Sender | None:
    """Who has sent a file; None where the server lists no keys, so that nothing is known of it.

    Args:
        options: the keys that the server knows.
        data: the file.
        block: its signature block; None where it has none.
        kind, run, round: of the file that is expected here; a signature for another one does not count.

    Raises UploadSenderError, or UploadReplayError and UploadRoundError for what was signed for another place."""
    if not options.keys:
        return None
    if block is None:
        raise _refused(
            "it is not signed, and this run lists its clients' keys (server.keys): sign it (fgl client prepare --key), "
            f"and hand over FILE{signatures.SUFFIX} with it"
        )
    found = signatures.read(block)
    sender = _first(found, data, signatures.SENDER, options, (kind, run, round))
    approved_by = ""
    try:
        approved_by = _first(found, data, signatures.APPROVAL, options, (kind, run, round), sender.client_id).key
    except UploadError:
        if options.approved_only:
            raise
    return Sender(client_id=sender.client_id, key=sender.key, approved_by=approved_by)


def check_name(sender: Sender | None, named: str) -> None:
    """Raises UploadSenderError where a file names another client than the one that has signed it."""
    if sender is not None and sender.client_id != named:
        raise _refused(f"signed by {sender.client_id}, and it names {quoted(named)}")


def _first(
    found: Sequence[Signature],
    data: bytes,
    role: str,
    options: ServerOptions,
    place: tuple[str, str, int],
    client_id: str | None = None,
) -> Statement:
    """The first signature of a role that counts; while a key is replaced, a file may have one of each. client_id: whose
    file it must be; None: whose the signature says. Raises the last one's error where none does."""
    errors: list[UploadError] = []
    for one in found:
        if one.statement.role == role:
            try:
                _check(one, data, options, place, client_id)
                return one.statement
            except UploadError as error:
                errors.append(error)
    if errors:
        raise errors[-1]
    if role == signatures.SENDER:
        raise _refused("no signature of its sender is in its signature block: sign it with fgl client prepare --key")
    raise _refused("nobody has approved it, and server.approved_only asks for that: fgl client approve FILE --key KEY")


def _check(
    one: Signature, data: bytes, options: ServerOptions, place: tuple[str, str, int], client_id: str | None
) -> None:
    stated = one.statement
    if stated.key in options.revoked:
        raise _refused(f"signed with {stated.key}, which is revoked (server.revoked)")
    whose = stated.client_id
    if stated.role == signatures.SENDER:
        listed, where = options.trusted(whose), f"no key of {quoted(whose)} (server.keys)"
    else:
        listed, where = options.approving(whose), f"no key that approves for {quoted(whose)} (server.approvers)"
    if stated.key not in listed:
        raise _refused(f"signed with {stated.key}, {where}")
    signatures.verify(one, data)
    if client_id is not None and whose != client_id:
        raise _refused(f"sent by {client_id!r}, and approved as a file of {quoted(whose)}")
    kind, run, round_ = place
    if stated.kind != kind:
        raise UploadReplayError(f"refused: signed as a file of the kind {quoted(stated.kind)}; here goes {kind!r}")
    if stated.run != run:
        raise UploadReplayError(f"refused: signed for the run {quoted(stated.run)}, this one is {run!r}")
    if stated.round != round_:
        raise UploadRoundError(f"refused: signed for round {stated.round}, expected {round_}")


def _refused(rule: str) -> UploadSenderError:
    return UploadSenderError(f"refused: {rule}")
