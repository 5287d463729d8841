"""Keys of clients and servers as files, each refused where it could have been read by others.

A client signs with Ed25519 (RFC 8032). Its private key is a PEM file (PKCS #8), as `openssl genpkey` writes it; its
public key is one line, `ed25519:` and 32 bytes in base64, for the server's configuration. A server opens sealed files
with a key of age (X25519; age-encryption.org/v1), in the format of `age-keygen`; its public key is one line, `age1…`.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.errors import COMMAND_LINE, ConfigError, Problem, StoreError
from fgl.io import files
from fgl.text import first_line, plain, quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from pyrage.x25519 import Identity, Recipient

PREFIX = "ed25519:"
_LENGTH = 32
_MOST = 10_000  # bytes of a key file
_AGE_PRIVATE, _AGE_PUBLIC = "AGE-SECRET-KEY-", "age1"
_NOT_PRIVATE = "this is a private key, which never leaves its machine: give the public one, of {made} (.pub)"
CLIENT_KEYGEN, SERVER_KEYGEN = "fgl client keygen", "fgl server keygen"


# --- public keys ----------------------------------------------------------------------------------------------------


def public_key(text: str) -> bytes:
    """The 32 bytes of a client's public key. Raises ValueError, whose message says what was expected."""
    _refuse_private(text, CLIENT_KEYGEN)
    if not text.startswith(PREFIX):
        other = ": this one opens sealed files of a server" if text.startswith(_AGE_PUBLIC) else ""
        raise ValueError(f"expected a public key of {CLIENT_KEYGEN}, {PREFIX} and 44 characters{other}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # One key has one spelling: a revoked key must not come back under another.
    if len(key) != _LENGTH or public_text(key) != text:
        raise ValueError(f"expected a public key of {CLIENT_KEYGEN}, whole: {PREFIX} and 44 characters of base64")
    return key


def public_text(key: bytes) -> str:
    """A client's public key as configurations and signatures have it. key: 32 bytes."""
    return PREFIX + base64.b64encode(key).decode("ascii")


def _refuse_private(text: str, made: str) -> None:
    if "PRIVATE KEY" in text or _AGE_PRIVATE in text.upper():
        raise ValueError(_NOT_PRIVATE.format(made=made))


# --- pairs ----------------------------------------------------------------------------------------------------------


def client_pair() -> tuple[bytes, str]:
    """(private key as a PEM file, public key) of a new Ed25519 pair, from the operating system's random numbers."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, public_text(key.public_key().public_bytes_raw())


def server_pair() -> tuple[bytes, str]:
    """(private key as a file of age, public key) of a new X25519 pair."""
    from pyrage.x25519 import Identity

    identity = Identity.generate()
    public = str(identity.to_public())
    return f"# public key: {public}\n{identity}\n".encode(), public


def write_pair(stem: Path, private: bytes, public: str) -> tuple[Path, Path]:
    """Write `stem`.key, for its owner alone, and `stem`.pub; returns both. Raises ConfigError where one of them exists:
    a key that is lost cannot be made again."""
    paths = (stem.with_name(f"{stem.name}.key"), stem.with_name(f"{stem.name}.pub"))
    for path in paths:
        if os.path.lexists(path):
            expected = "expected a name that is free: no key is ever replaced; give a new one another name"
            raise ConfigError([Problem("--out", str(path), expected)], COMMAND_LINE)
    files.make_folders(stem.parent, stem.parent)
    files.write(paths[0], private, private=True)
    files.write(paths[1], f"{public}\n".encode())
    return paths


# --- reading --------------------------------------------------------------------------------------------------------


def signing_key(path: Path, option: str = "--key") -> Ed25519PrivateKey:
    """A client's private key. Raises ConfigError where it is none, or others may read the file, StoreError where it
    cannot be read."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = _private_text(path, option, CLIENT_KEYGEN)
    if _AGE_PRIVATE in text:
        raise _wrong(option, path, f"expected a private key of {CLIENT_KEYGEN}; this one opens sealed files")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise _wrong(option, path, "expected a key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        expected = f"expected a private key of {CLIENT_KEYGEN}, whole: {first_line(error, 120)}"
        raise _wrong(option, path, expected) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong(option, path, f"expected an Ed25519 key, as {CLIENT_KEYGEN} makes it; this is another kind of key")
    return key


def server_identity(path: Path, option: str = "--key") -> Identity:
    """A server's private key. Raises ConfigError and StoreError as `signing_key`."""
    from pyrage import IdentityError
    from pyrage.x25519 import Identity

    text = _private_text(path, option, SERVER_KEYGEN)
    if "PRIVATE KEY-" in text:
        raise _wrong(option, path, f"expected a private key of {SERVER_KEYGEN}: this one signs files of a client")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1:
        raise _wrong(option, path, f"expected a private key of {SERVER_KEYGEN}, one line: {_AGE_PRIVATE}1…")
    try:
        return Identity.from_str(lines[0])
    except IdentityError:
        raise _wrong(option, path, f"expected a private key of {SERVER_KEYGEN}, whole") from None


def server_recipient(text_or_path: str, option: str = "--seal-to") -> Recipient:
    """A server's public key, `age1…` or a file that holds it. Raises ConfigError and StoreError."""
    from pyrage import RecipientError
    from pyrage.x25519 import Recipient

    text = text_or_path.strip()
    if not text.startswith(_AGE_PUBLIC) or os.path.lexists(text_or_path):
        text = _text(Path(text_or_path).expanduser(), option)[0].strip()
    try:
        _refuse_private(text, SERVER_KEYGEN)
        if text.startswith(PREFIX):
            raise ValueError(f"expected a public key of {SERVER_KEYGEN}; this one is a client's")
        return Recipient.from_str(text)
    except RecipientError:
        expected = f"expected a public key of {SERVER_KEYGEN}, whole: one line that begins with {_AGE_PUBLIC}"
    except ValueError as error:
        expected = str(error)
    raise ConfigError([Problem(option, plain(text_or_path, 80), expected)], COMMAND_LINE)


def _private_text(path: Path, option: str, made: str) -> str:
    text, mode = _text(path, option)
    if text.startswith((PREFIX, _AGE_PUBLIC)) or "PUBLIC KEY" in text:
        raise _wrong(option, path, f"expected the private key, of {made} (.key); this is a public one")
    if mode & 0o077:
        expected = (
            f"expected a file for its owner alone (0600), this one is {mode:04o}: chmod 600 {plain(path)}; "
            f"where others may have read it, make another key ({made}) and have this one revoked"
        )
        raise _wrong(option, path, expected)
    return text


def _text(path: Path, option: str) -> tuple[str, int]:
    """(text, permission bits) of one and the same opened file."""
    try:
        with files.open_regular(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise _wrong(option, path, f"expected a key file, of {_MOST:,} bytes at most")
        return data.decode("ascii"), mode
    except UnicodeDecodeError:
        raise _wrong(option, path, "expected a key file, which is text") from None
    except OSError as error:
        raise StoreError(f"cannot read {option} {quoted(path, 200)}: {error.strerror or error}") from error


def _wrong(option: str, path: Path, expected: str) -> ConfigError:
    return ConfigError([Problem(option, str(path), expected)], COMMAND_LINE)
