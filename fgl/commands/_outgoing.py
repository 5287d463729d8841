"""Files that are handed over, signed, sealed or as they are: what `fgl client prepare`, `probe` and `approve` write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._options import home
from fgl.commands._output import say
from fgl.errors import COMMAND_LINE, ConfigError, Problem, StoreError

if TYPE_CHECKING:
    from fgl.core.wire.signatures import Place

SignKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", callback=home, help="Sign with this private key: fgl client keygen."),
]
SealTo = Annotated[
    str | None,
    typer.Option(
        "--seal-to", metavar="SERVER.pub", help="Encrypt for the server with this key: fgl server keygen, or its text."
    ),
]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How files leave. key: the private key; None where they are not signed. public: its public key. recipient: for
    whom they are sealed; None for nobody."""

    key: Any
    public: str | None
    recipient: Any

    @classmethod
    def of(cls, key: Path | None, seal_to: str | None) -> Outgoing:
        """Reads both keys, before any work is done. Raises ConfigError and StoreError."""
        from fgl.io import keys

        private = None if key is None else keys.signing_key(key)
        public = None if private is None else keys.public_text(private.public_key().public_bytes_raw())
        return cls(private, public, None if seal_to is None else keys.server_recipient(seal_to))

    def files(self, file: Path) -> list[Path]:
        """What will be written for a file, in the order in which it is."""
        if self.recipient is not None:
            return [_beside(file, ".age")]
        return [file] if self.key is None else [file, _beside(file, ".sig")]

    def check(self, file: Path) -> None:
        """Raises ConfigError where a file of somebody else's would be replaced by a signature or a sealed file."""
        for path in (_beside(file, ".sig"), *self.files(file)):
            if path == file or not os.path.lexists(path):
                continue
            if not (_is_signature(path) if path.suffix == ".sig" else _is_sealed(path)):
                expected = "expected a path that does not exist, or what fgl wrote there earlier; this is neither"
                raise ConfigError([Problem("--out", str(path), expected)], COMMAND_LINE)

    def write(self, file: Path, data: bytes, place: Place) -> Path:
        """Write a file as it leaves, and return the path of what is to be sent. Raises StoreError."""
        from fgl.core.wire import signatures

        block = None if self.key is None else signatures.block([signatures.sign(self.key, data, place)])
        return self.put(file, data, block)

    def put(self, file: Path, data: bytes, block: bytes | None, keep: bool = False) -> Path:
        """As `write`, with a signature block that is there already. keep: whether the file itself is there too."""
        from fgl.core.wire import envelopes
        from fgl.io import files

        files.make_folders(file.parent, file.parent)
        beside = _beside(file, ".sig")
        if self.recipient is not None:
            path = _beside(file, ".age")
            files.write(path, envelopes.sealed(data, block, self.recipient))
            return path
        if not keep:
            files.write(file, data)
        if block is not None:
            files.write(beside, block)
        elif os.path.lexists(beside):  # of what was there before: beside these bytes it would be a wrong one
            _remove(beside)
        return file

    def say_how(self, file: Path) -> None:
        """Say what was written beside a file or in its place."""
        if self.public is not None:
            inside = ", inside" if self.recipient is not None else f"; send {_beside(file, '.sig')} with it"
            say(f"signed by {self.public}{inside}")
        if self.recipient is not None:
            say(f"sealed to {self.recipient}: only the holder of that key can open it")


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _is_signature(path: Path) -> bool:
    from fgl.core.wire import signatures
    from fgl.errors import UploadError

    try:
        signatures.read(_start(path, signatures.MAX_BLOCK + 1))
    except UploadError:
        return b'"fgl-signature"' in _start(path, 2000)  # one that was cut may be replaced
    return True


def _is_sealed(path: Path) -> bool:
    from fgl.core.wire import envelopes

    return envelopes.is_sealed(_start(path, 64))


def _start(path: Path, count: int) -> bytes:
    from fgl.io import files

    try:
        with files.open_regular(path) as file:
            return file.read(count)
    except OSError:
        return b""


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error
