"""Key files: for their owner alone, each only where it belongs, and never replaced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fgl.errors import ConfigError, StoreError
from fgl.io import keys


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder with north.key, north.pub (a client's) and server.key, server.pub."""
    keys.write_pair(tmp_path / "north", *keys.client_pair())
    keys.write_pair(tmp_path / "server", *keys.server_pair())
    return tmp_path


def test_private_keys_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private, public = keys.write_pair(tmp_path / "open", *keys.client_pair())
    finally:
        os.umask(before)
    assert private.stat().st_mode & 0o777 == 0o600
    assert keys.public_key(public.read_text().strip())


def test_a_key_is_never_replaced(pairs: Path) -> None:
    before = (pairs / "north.key").read_bytes()
    with pytest.raises(ConfigError, match="no key is ever replaced"):
        keys.write_pair(pairs / "north", *keys.client_pair())
    (pairs / "north.key").unlink()
    with pytest.raises(ConfigError, match=r"north\.pub"):
        keys.write_pair(pairs / "north", *keys.client_pair())
    assert before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
@pytest.mark.parametrize("name", ["north", "server"])
def test_a_private_key_that_others_could_read_is_refused(pairs: Path, name: str, mode: int) -> None:
    path = pairs / f"{name}.key"
    path.chmod(mode)
    read = keys.signing_key if name == "north" else keys.server_identity
    with pytest.raises(ConfigError, match=rf"for its owner alone \(0600\), this one is 0{mode:o}: chmod 600"):
        read(path)
    path.chmod(0o400)
    read(path)


def test_a_key_in_the_place_of_another_is_named_as_what_it_is(pairs: Path) -> None:
    with pytest.raises(ConfigError, match="this one opens sealed files"):
        keys.signing_key(pairs / "server.key")
    with pytest.raises(ConfigError, match="this one signs files of a client"):
        keys.server_identity(pairs / "north.key")
    for read in (keys.signing_key, keys.server_identity):
        for name in ("north.pub", "server.pub"):
            with pytest.raises(ConfigError, match=r"expected the private key.*this is a public one"):
                read(pairs / name)
    for name in ("north.key", "server.key"):
        text = (pairs / name).read_text()
        with pytest.raises(ConfigError, match="this is a private key, which never leaves its machine"):
            keys.server_recipient(str(pairs / name))
        with pytest.raises(ValueError, match="this is a private key"):
            keys.public_key(text)
    with pytest.raises(ConfigError, match="this one is a client's"):
        keys.server_recipient(str(pairs / "north.pub"))
    with pytest.raises(ValueError, match="opens sealed files of a server"):
        keys.public_key((pairs / "server.pub").read_text().strip())


def test_a_server_is_named_by_its_key_or_by_the_file_of_it(pairs: Path) -> None:
    text = (pairs / "server.pub").read_text()
    assert str(keys.server_recipient(text)) == str(keys.server_recipient(str(pairs / "server.pub"))) == text.strip()
    with pytest.raises(ConfigError, match="whole: one line that begins with age1"):
        keys.server_recipient(text.strip()[:-1])
    with pytest.raises(StoreError, match="No such file"):
        keys.server_recipient(str(pairs / "nothing.pub"))


def test_one_key_has_one_spelling(pairs: Path) -> None:
    text = (pairs / "north.pub").read_text().strip()
    assert keys.public_text(keys.public_key(text)) == text
    last = text[-2]
    other = chr(ord(last) + 1)  # the last letter holds two bits that nobody reads
    for bad in (
        text[:-1],
        text[:-2] + other + "=",
        text + "=",
        text + "\n",
        text.replace("ed25519:", ""),
        "",
        "ed25519:",
    ):
        with pytest.raises(ValueError, match="expected a public key"):
            keys.public_key(bad)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\xff\xfe", b"x" * 20_000])
def test_what_is_no_key_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (keys.signing_key, keys.server_identity):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert len(caught.value.problems) == 1
        assert "\n" not in str(caught.value.problems[0])


def test_keys_with_a_passphrase_and_of_another_kind_are_named(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    for name, data, word in (("locked", locked, "without a passphrase"), ("other", other, "expected an Ed25519 key")):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        with pytest.raises(ConfigError, match=word):
            keys.signing_key(tmp_path / name)


def test_openssl_reads_the_private_key(pairs: Path) -> None:
    try:
        command = ["openssl", "pkey", "-in", str(pairs / "north.key"), "-pubout", "-outform", "DER"]
        done = subprocess.run(command, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no openssl that knows Ed25519")
    assert done.stdout[-32:] == keys.public_key((pairs / "north.pub").read_text().strip())
