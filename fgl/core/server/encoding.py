"""Uploads of texts, encoded at the server into the upload that the client would have sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core import encoding as core_encoding
from fgl.core.config.defaults import EXACT_CODEC
from fgl.core.server.upload_store import UploadManifest, encoded_path, read_upload, upload_path
from fgl.core.store.owned import digest_of, file_digest
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import requests, upload, upload_reader
from fgl.core.wire.codecs import TEXT
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.generator import Encoder
    from fgl.core.session import Session


def expectation(session: Session, clients: Sequence[str]) -> upload_reader.UploadPolicy:
    options = session.config.upload
    return upload_reader.UploadPolicy(
        declaration=session.generator.declare(),
        clients=frozenset(clients),
        round=requests.ROUND,
        class_names=session.info.class_names,
        max_bytes=int(options.max_megabytes * 1e6),
        max_rows=options.max_rows,
        run=options.run_id,
        texts=options.codec == TEXT,
        codecs=session.codecs,
    )


@dataclass
class Encoding:
    """What encodes texts at the server: the generator's own text encoder, loaded when the first text comes."""

    session: Session

    @cached_property
    def encoder(self) -> Encoder:
        return self.session.generator.encoder(self.session.device)

    @cached_property
    def identity(self) -> str:
        """Digest of what determines the arrays of a text."""
        generator = self.session.generator
        said = {"declared": generator.declare().encoder, "encoding": dict(generator.encoding())}
        return digest_of({**said, "device": self.session.device_kind, "format": upload.VERSION})

    def embeddings(self, accepted: ClientUpload, expected: upload_reader.UploadPolicy) -> bytes:
        """The upload of the same prompts in fp32, byte for byte what the client would have sent."""
        arrays, indices = core_encoding.encode_once_warned(self.encoder, accepted.prompts)
        core_encoding.warn_of_cuts(
            self.encoder, accepted.prompts, accepted.client_id, expected.class_names, quote=False
        )
        sender = upload.UploadHeader(accepted.client_id, accepted.round, expected.class_names, expected.run)
        return upload.encode(sender, expected.declaration, EXACT_CODEC, accepted.prompts, arrays, indices)


def identities(session: Session, manifests: Mapping[str, UploadManifest | None]) -> dict[str, str]:
    """Of each client whose upload is kept, a digest of what it gives: of its bytes, and where they are texts, of what
    encodes them."""
    encoding, found = Encoding(session), {}
    for name, manifest in sorted(manifests.items()):
        if manifest is not None:
            texts = manifest.codec == TEXT
            found[name] = digest_of([manifest.sha256, encoding.identity]) if texts else manifest.sha256
    return found


def of_own(embeddings: bytes, expected: upload_reader.UploadPolicy, client_id: str) -> ClientUpload:
    # whether what it becomes is too large was judged by shapes, before it was encoded
    return upload_reader.decode(embeddings, replace(expected, max_bytes=2**60), client_id)


def keep_encoded(run: RunDir, client_id: str, embeddings: bytes, digest: str, encoding: Encoding) -> None:
    """digest: of the texts."""
    path = encoded_path(run, client_id)
    run.write(path, embeddings)
    sealed = {"texts": digest, "encoding": encoding.identity, "sha256": hashlib.sha256(embeddings).hexdigest()}
    run.write_sealed(path.with_suffix(".json"), sealed)


def encoded(session: Session, client_id: str, digest: str, encoding: Encoding) -> Path:
    """Where the embeddings of a client's texts are; encodes them where they are not there as they should be. digest:
    of the texts."""
    path = encoded_path(session.run, client_id)
    sealed = session.run.read_sealed(path.with_suffix(".json"))
    if sealed is not None and (sealed["texts"], sealed["encoding"]) == (digest, encoding.identity):
        try:
            if file_digest(path) == sealed["sha256"]:
                return path
        except StoreError:
            pass
    expected = expectation(session, [client_id])
    accepted = upload_reader.decode(read_upload(upload_path(session.run, client_id)), expected, client_id)
    embeddings = encoding.embeddings(accepted, expected)
    of_own(embeddings, expected, client_id)
    keep_encoded(session.run, client_id, embeddings, digest, encoding)
    return path
