"""Signatures of files that leave a client: who hands over which bytes, for which run, round and purpose.

They lie beside a file, in FILE.sig, so that the file itself stays what it is without them. Format, version 1: a JSON
object with format, version and signatures, a list of objects: role (`sender` or `approval`), key (the public one),
kind (of the file: see `fgl.core.wire.kinds`), run, client_id, round, sha256, size (of the file, bytes) and signature
(base64). Each signature is Ed25519 (RFC 8032) over the line `fgl-signature 1` and the canonical JSON of all of these
but itself: a signature for one run, round, client, purpose or file is none for another.

Nothing of a block is believed before its signature has been verified with a key that the reader already knew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from fgl.contracts.dataset import CLIENT_ID
from fgl.core.wire import container
from fgl.errors import UploadError, UploadSenderError
from fgl.io import keys, strict_json
from fgl.text import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT, VERSION = "fgl-signature", 1
SUFFIX = ".sig"
SENDER, APPROVAL = "sender", "approval"
MAX_BLOCK, MAX_SIGNATURES = 16_384, 16
_HEAD = f"{FORMAT} {VERSION}\n".encode()
_FORMS = {
    "role": f"{SENDER}|{APPROVAL}",
    "kind": "[a-z][a-z-]{0,31}",
    "client_id": CLIENT_ID,
    "sha256": "[0-9a-f]{64}",
}
_MAX_RUN, _MAX_NUMBER = 100, 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a file is for."""

    kind: str
    """What the file is, such as `upload`."""
    run: str
    """Id of the run."""
    client_id: str
    """Whose file it is."""
    round: int
    """Of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Place):
    """What one signature is over."""

    role: str
    """SENDER: of the one who sends the file; APPROVAL: of the one who has reviewed it."""
    key: str
    """The public key that the signature is to be verified with."""
    sha256: str
    """Of the file."""
    size: int
    """Of the file, bytes."""

    def signed(self) -> bytes:
        """The bytes that are signed."""
        return _HEAD + strict_json.canonical(asdict(self))


@dataclass(frozen=True, slots=True)
class Signature:
    """A statement, and what is said to be its signature."""

    statement: Statement
    signature: bytes


_KEYS = {*(one.name for one in fields(Statement)), "signature"}


def sign(key: Ed25519PrivateKey, data: bytes, place: Place, role: str = SENDER) -> Signature:
    """Sign a file. data: all of its bytes. place: what it is for."""
    statement = Statement(
        role=role,
        key=keys.public_text(key.public_key().public_bytes_raw()),
        **asdict(place),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    return Signature(statement, key.sign(statement.signed()))


def block(signatures: Sequence[Signature]) -> bytes:
    """The bytes of FILE.sig."""
    listed = [
        {**asdict(one.statement), "signature": base64.b64encode(one.signature).decode("ascii")} for one in signatures
    ]
    stated = {"format": FORMAT, "version": VERSION, "signatures": listed}
    return strict_json.dumps(stated, indent=1, sort_keys=True).encode() + b"\n"


def added(existing: bytes | None, signature: Signature, data: bytes) -> bytes:
    """A block with one more signature; those of other bytes than `data`, or of the same role and key, are dropped."""
    try:
        before = [] if existing is None else read(existing)
    except UploadSenderError:  # of another file of this name, or damaged: it is replaced
        before = []
    mine, digest = signature.statement, hashlib.sha256(data).hexdigest()
    kept = [
        one
        for one in before
        if one.statement.sha256 == digest and (one.statement.role, one.statement.key) != (mine.role, mine.key)
    ]
    return block([*kept[-MAX_SIGNATURES + 1 :], signature])


def read(data: bytes) -> list[Signature]:
    """The signatures of a block, of which only the form has been checked. Raises UploadSenderError."""
    _require(len(data) <= MAX_BLOCK, f"a signature block of more than {MAX_BLOCK:,} bytes")
    try:
        stated = container.parse(data)
    except UploadError:
        raise _refused("its signature block (.sig) is cut or damaged: it cannot be read as JSON") from None
    _require(stated.get("format") == FORMAT, f"format of its signature block is {quoted(stated.get('format'))}")
    version = stated.get("version")
    same = type(version) is int and version == VERSION
    _require(same, f"signature block of version {quoted(version)}, expected {VERSION}: both sides need the same fgl")
    listed = stated.get("signatures")
    if set(stated) != {"format", "version", "signatures"} or not isinstance(listed, list):
        raise _refused("its signature block is not format, version and signatures")
    _require(1 <= len(listed) <= MAX_SIGNATURES, f"{len(listed)} signatures, expected 1 to {MAX_SIGNATURES}")
    return [_read_one(one) for one in listed]


def _read_one(given: Any) -> Signature:
    if not isinstance(given, dict) or set(given) != _KEYS:
        raise _refused(f"a signature that is not {', '.join(sorted(_KEYS))}")
    for name, form in _FORMS.items():
        text = given[name]
        _require(isinstance(text, str) and re.fullmatch(form, text) is not None, f"signed {name} is {quoted(text)}")
    run = given["run"]
    _require(isinstance(run, str) and len(run) <= _MAX_RUN, f"signed run is {quoted(run)}")
    for name in ("round", "size"):
        number = given[name]
        _require(type(number) is int and 0 <= number < _MAX_NUMBER, f"signed {name} is {quoted(number)}")
    try:
        keys.public_key(str(given["key"]))
        made = base64.b64decode(given.pop("signature"), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _refused(f"a signature whose key or value cannot be read: {quoted(error, 120)}") from None
    return Signature(Statement(**given), made)


def verify(one: Signature, data: bytes) -> None:
    """Raises UploadSenderError where a signature is not that of its key, or not of these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    stated = one.statement
    try:
        Ed25519PublicKey.from_public_bytes(keys.public_key(stated.key)).verify(one.signature, stated.signed())
    except (InvalidSignature, ValueError):
        raise _refused(f"the signature is not of the key {stated.key}: it was altered, or made up") from None
    if (stated.size, stated.sha256) != (len(data), hashlib.sha256(data).hexdigest()):
        raise _refused(
            f"altered after signing: signed were {stated.size:,} bytes with sha256 {stated.sha256[:16]}…, these are "
            f"{len(data):,} with {hashlib.sha256(data).hexdigest()[:16]}…"
        )


def _refused(rule: str) -> UploadSenderError:
    return UploadSenderError(f"refused: {rule}")


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise _refused(rule)
