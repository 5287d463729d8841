"""Signatures and seals of files: any changed bit is refused, and no block costs more than its bound."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from fgl.core.wire import envelopes, signatures
from fgl.core.wire.signatures import Place
from fgl.errors import UploadFormatError, UploadSenderError, UploadSizeError
from fgl.io import keys

DATA = b"what leaves" * 100
PLACE = Place(kind="upload", run="trial-7", client_id="north", round=3)


@pytest.fixture(scope="module")
def key() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def test_a_signed_file_is_read_back_and_equal_files_have_equal_signatures(key: Any) -> None:
    made = signatures.sign(key, DATA, PLACE)
    (read,) = signatures.read(signatures.block([made]))
    assert read == made == signatures.sign(key, DATA, PLACE)
    signatures.verify(read, DATA)


def test_a_changed_file_or_statement_is_refused(key: Any) -> None:
    made = signatures.sign(key, DATA, PLACE)
    for other in (DATA + b"x", DATA[:-1], b"", DATA.replace(b"w", b"W", 1)):
        with pytest.raises(UploadSenderError, match="altered after signing"):
            signatures.verify(made, other)
    stated = made.statement
    changes = (
        {"run": "trial-8"}, {"round": 4}, {"client_id": "south"}, {"kind": "probe"}, {"role": signatures.APPROVAL},
        {"size": 1}, {"sha256": "0" * 64}, {"key": keys.client_pair()[1]},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(UploadSenderError, match="not of the key"):
            signatures.verify(replace(made, statement=replace(stated, **change)), DATA)


def test_every_changed_byte_of_a_block_is_refused_or_says_the_same(key: Any) -> None:
    block = signatures.block([signatures.sign(key, DATA, PLACE)])
    before = signatures.read(block)
    for place in range(len(block)):
        mutant = block[:place] + bytes([block[place] ^ 1]) + block[place + 1 :]
        try:
            read = signatures.read(mutant)
            signatures.verify(read[0], DATA)
        except UploadSenderError:
            continue
        assert read == before, mutant


def test_blocks_that_are_cut_too_large_or_of_another_form_are_refused(key: Any) -> None:
    block = signatures.block([signatures.sign(key, DATA, PLACE)])
    for end in range(0, len(block) - 2, 7):
        with pytest.raises(UploadSenderError, match="cut or damaged"):
            signatures.read(block[:end])
    with pytest.raises(UploadSenderError, match="more than 16,384 bytes"):
        signatures.read(block + b" " * signatures.MAX_BLOCK)
    stated = json.loads(block)

    def with_(**changes: Any) -> bytes:
        return json.dumps({**stated, **changes}).encode()

    one = stated["signatures"][0]
    for bad, word in (
        (with_(version=2), "version '2', expected 1"),
        (with_(version=True), "version 'True'"),
        (with_(format="x"), "format of its signature block"),
        (with_(more=1), "not format, version and signatures"),
        (with_(signatures=[]), "0 signatures"),
        (with_(signatures=[one] * 17), "17 signatures"),
        (with_(signatures=[{**one, "more": 1}]), "a signature that is not"),
        (with_(signatures=["x"]), "a signature that is not"),
        (with_(signatures=[{**one, "round": True}]), "signed round is 'True'"),
        (with_(signatures=[{**one, "round": -1}]), "signed round"),
        (with_(signatures=[{**one, "client_id": "../x"}]), "signed client_id"),
        (with_(signatures=[{**one, "run": "x" * 101}]), "signed run"),
        (with_(signatures=[{**one, "signature": "%"}]), "cannot be read"),
        (with_(signatures=[{**one, "signature": None}]), "cannot be read"),
        (with_(signatures=[{**one, "key": 5}]), "cannot be read"),
        (b"[" * 5000, "cut or damaged"),
    ):
        with pytest.raises(UploadSenderError, match=word):
            signatures.read(bad)


def test_an_approval_is_added_and_what_is_of_other_bytes_is_dropped(key: Any) -> None:
    sender = signatures.sign(key, DATA, PLACE)
    approval = signatures.sign(key, DATA, PLACE, signatures.APPROVAL)
    block = signatures.added(signatures.block([sender]), approval, DATA)
    assert signatures.read(block) == [sender, approval]
    assert signatures.read(signatures.added(block, approval, DATA)) == [sender, approval]
    other = signatures.sign(key, b"other", PLACE)
    assert signatures.read(signatures.added(block, other, b"other")) == [other]
    assert signatures.read(signatures.added(b"junk", other, b"other")) == [other]


# --- sealed files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity() -> Any:
    return pyrage.x25519.Identity.generate()


def opened(data: bytes, path: Path, identity: Any, most: int = 10_000) -> envelopes.Envelope:
    path.write_bytes(data)
    return envelopes.opened(envelopes.raw(path, most), most, identity)


def test_what_is_sealed_is_opened_with_its_signatures_and_read_by_nobody_else(tmp_path: Path, identity: Any) -> None:
    made = envelopes.sealed(DATA, b"block", identity.to_public())
    assert DATA[:11] not in made
    found = opened(made, tmp_path / "f", identity)
    assert (found.data, found.block, found.size, found.sealed) == (DATA, b"block", len(DATA), True)
    assert opened(envelopes.sealed(b"", None, identity.to_public()), tmp_path / "f", identity).block is None
    with pytest.raises(UploadFormatError, match="sealed to another key"):
        opened(made, tmp_path / "f", pyrage.x25519.Identity.generate())
    with pytest.raises(UploadFormatError, match=r"--key SERVER\.key"):
        opened(made, tmp_path / "f", None)


def test_sealed_files_that_were_changed_or_are_not_of_fgl_are_refused(tmp_path: Path, identity: Any) -> None:
    made = envelopes.sealed(DATA, b"block", identity.to_public())
    for place in range(21, len(made), 13):  # past what tells a sealed file
        with pytest.raises(UploadFormatError, match=r"cut or damaged|another key"):
            opened(made[:place] + bytes([made[place] ^ 1]) + made[place + 1 :], tmp_path / "f", identity)
        with pytest.raises(UploadFormatError, match=r"cut or damaged|another key"):
            opened(made[:place], tmp_path / "f", identity)
    for text, word in (
        (DATA, "not a file that fgl has sealed"),
        (b"fgl-sealed 1 5 0\nabc", "not as long as it says"),
        (b"fgl-sealed 1 3 0\nabcd", "not as long as it says"),
        (b"fgl-sealed 2 3 0\nabc", "not a file that fgl"),
    ):
        with pytest.raises(UploadFormatError, match=word):
            opened(pyrage.encrypt(text, [identity.to_public()]), tmp_path / "f", identity)
    huge = b"fgl-sealed 1 1 20000\n" + bytes(20_001)
    with pytest.raises(UploadSenderError, match="signature block of more"):
        opened(pyrage.encrypt(huge, [identity.to_public()]), tmp_path / "f", identity, most=50_000)


def test_no_more_is_read_of_a_file_than_may_be_in_it(tmp_path: Path, identity: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(envelopes.sealed(bytes(200_000), None, identity.to_public()))
    with pytest.raises(UploadSizeError, match="at most 1,000 may be in it"):
        envelopes.opened(envelopes.raw(path, 1000), 1000, identity)
    assert len(envelopes.raw(path, 1000).data) < 30_000
    for size in (1, 65_536, 131_072, 500_000):  # the largest that may be in it is taken at every number of chunks
        found = opened(envelopes.sealed(bytes(size), bytes(16_384), identity.to_public()), path, identity, most=size)
        assert len(found.data) == size
    path.write_bytes(bytes(5000))
    found = envelopes.raw(path, 1000)
    assert (len(found.data), found.size) == (1001, 5000)


def test_a_block_beside_a_file_is_bounded_and_a_pipe_in_its_place_is_none(tmp_path: Path) -> None:
    import os

    path = tmp_path / "f"
    path.write_bytes(DATA)
    assert envelopes.raw(path, 10_000).block is None
    beside = tmp_path / "f.sig"
    beside.write_bytes(bytes(100_000))
    assert len(envelopes.raw(path, 10_000).block or b"") == signatures.MAX_BLOCK + 1
    beside.unlink()
    os.mkfifo(beside)
    assert envelopes.raw(path, 10_000).block == b""
