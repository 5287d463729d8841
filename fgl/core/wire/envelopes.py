"""What comes out of a file that somebody handed over: its bytes, and the signatures that came with them.

A file is plain, with its signatures in FILE.sig beside it, or sealed: a file of age (age-encryption.org/v1), whose
plaintext is the line `fgl-sealed 1 N M`, the N bytes of the file and the M bytes of its signature block. So it is
signed inside and sealed outside: who carries it sees neither content nor sender, and cannot put another signature on.
Everything is bounded before it is read or opened, and the format is age's own: `age --decrypt` opens it too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.wire import signatures
from fgl.errors import UploadFormatError, UploadSenderError, UploadSizeError
from fgl.io import files

if TYPE_CHECKING:
    from pyrage.x25519 import Identity, Recipient

SEALED = ".age"
_MAGIC = b"age-encryption.org/v1"
_FORM = re.compile(rb"fgl-sealed 1 ([0-9]{1,15}) ([0-9]{1,6})\n")
_HEAD_MOST = 64
_CHUNK, _TAG, _AGE_HEADER = 65_536, 16, 4096


@dataclass(frozen=True, slots=True)
class Envelope:
    """A file that was handed over, opened and not yet believed."""

    data: bytes
    """The bytes of the file, at most one more than were asked for: then it is too large."""
    block: bytes | None
    """Its signature block; None where it has none."""
    sealed: bool
    """Whether it came sealed."""
    size: int
    """Bytes of the file itself, without signatures and seal, as far as that is known."""


def sealed(data: bytes, block: bytes | None, recipient: Recipient) -> bytes:
    """A file and its signature block, for the owner of one key alone."""
    import pyrage

    block = block or b""
    made: bytes = pyrage.encrypt(b"fgl-sealed 1 %d %d\n" % (len(data), len(block)) + data + block, [recipient])
    return made


def is_sealed(data: bytes) -> bool:
    """Whether a file begins as age's files do."""
    return data.startswith(_MAGIC)


def raw(path: Path, most: int) -> Envelope:
    """A file as it lies there, and the signature block beside it. most: bytes of the largest file that is accepted.

    A block that is too large or cannot be read is an error only where it is looked at: it is cut to one byte too many.
    Raises OSError where the file itself cannot be read."""
    with files.open_regular(path) as file:
        start = file.read(len(_MAGIC))
        sealed_, cap = is_sealed(start), most
        if sealed_:
            plain = most + signatures.MAX_BLOCK + _HEAD_MOST
            cap = plain + (plain // _CHUNK + 1) * _TAG + _AGE_HEADER
        # one byte beyond the cap tells a larger file, whatever its length is said to be
        data = start + file.read(cap + 1 - len(start))
        size = max(len(data), os.fstat(file.fileno()).st_size)
    if sealed_:
        return Envelope(data, None, True, size)
    return Envelope(data, _beside(path), False, size)


def _beside(path: Path) -> bytes | None:
    beside = path.with_name(path.name + signatures.SUFFIX)
    if not os.path.lexists(beside):
        return None
    try:
        with files.open_regular(beside) as file:
            return file.read(signatures.MAX_BLOCK + 1)
    except OSError:
        return b""  # no block that could be verified


def opened(found: Envelope, most: int, identity: Identity | None) -> Envelope:
    """The envelope without its seal, where it has one. identity: the server's private key. Raises UploadSizeError, or
    UploadFormatError where it cannot be opened."""
    if not found.sealed:
        return found
    import pyrage

    if identity is None:
        raise UploadFormatError("refused: a sealed file; it is opened with the server's private key (--key SERVER.key)")
    plain = most + signatures.MAX_BLOCK + _HEAD_MOST
    if found.size > plain + (plain // _CHUNK + 1) * _TAG + _AGE_HEADER:
        raise UploadSizeError(f"refused: a sealed file of {found.size:,} bytes; at most {most:,} may be in it")
    try:
        text: bytes = pyrage.decrypt(found.data, [identity])
    except pyrage.DecryptError as error:
        why = "it is sealed to another key" if "matching" in str(error) else "it is cut or damaged"
        raise UploadFormatError(f"refused: a sealed file that this server's key does not open: {why}") from None
    head = _FORM.match(text[:_HEAD_MOST])
    if head is None:
        raise UploadFormatError("refused: what was sealed is not a file that fgl has sealed")
    length, block = int(head[1]), int(head[2])
    rest = text[head.end() :]
    if len(rest) != length + block:
        raise UploadFormatError("refused: what was sealed is not as long as it says")
    if block > signatures.MAX_BLOCK:
        raise UploadSenderError(f"refused: a signature block of more than {signatures.MAX_BLOCK:,} bytes")
    return Envelope(rest[:length], rest[length:] if block else None, True, length)
