"""Uploads at the server: accepted or rejected, and opened again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.events import StageContext
from fgl.contracts.federation import ClientFailure
from fgl.core.server import log as record
from fgl.core.server import refusals, senders
from fgl.core.server.encoding import Encoding, encoded, keep_encoded, of_own
from fgl.core.server.upload_store import UploadManifest, drop_encoded, manifest_of, read_upload, upload_path
from fgl.core.store.typed import to_json
from fgl.core.wire import upload_reader
from fgl.core.wire.codecs import TEXT
from fgl.errors import ClientFailedError, UploadError

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.core.session import Session


log = logging.getLogger(__name__)


def accept(
    session: Session,
    data: bytes,
    expected: upload_reader.UploadPolicy,
    client_id: str | None,
    request: str,
    encoding: Encoding,
    block: bytes | None = None,
) -> str:
    """Validate an upload and keep it; returns whose it is. client_id: whose it must be, None for anybody on the list.
    request: digest of what the client was asked, "" where it answers by file. block: its signatures, which have been
    judged, or None. Raises UploadError."""
    accepted = upload_reader.decode(data, expected, client_id)
    path, digest = upload_path(session.run, accepted.client_id), hashlib.sha256(data).hexdigest()
    context = StageContext(str(session.run.root), "clients")
    sizes, embeddings = dict(accepted.bytes_by_codec), b""
    if accepted.codec == TEXT:
        embeddings = encoding.embeddings(accepted, expected)
        sizes = dict(of_own(embeddings, expected, accepted.client_id).bytes_by_codec)
    held = np.bincount(accepted.class_id, accepted.weight, minlength=len(expected.class_names))
    # What was encoded of an earlier upload goes first: killed in between, nothing is left that belongs to no upload.
    drop_encoded(session.run, accepted.client_id)
    session.run.write(path, data)
    manifest = UploadManifest(
        client_id=accepted.client_id,
        round=accepted.round,
        request=request,
        bytes=len(data),
        rows=len(accepted),
        weight_per_class=held.round(6).tolist(),
        sha256=digest,
        codec=accepted.codec,
        bytes_by_codec=sizes,
        codec_error=dict(accepted.codec_error),
        signature="" if block is None else block.decode("utf-8", errors="replace"),
    )
    session.run.write_sealed(path.with_suffix(".json"), to_json(manifest))
    session.events.upload_accepted(context, accepted.client_id, digest, len(data))
    if embeddings:
        keep_encoded(session.run, accepted.client_id, embeddings, digest, encoding)
    return accepted.client_id


def validated(
    session: Session,
    manifests: Mapping[str, UploadManifest],
    expected: upload_reader.UploadPolicy,
    encoding: Encoding,
) -> tuple[dict[str, UploadManifest], dict[str, dict[str, str]]]:
    """Of uploads that are kept: those that the configuration, which may have changed since, still accepts, and the
    refusals of the others."""
    accepted: dict[str, UploadManifest] = {}
    refused: dict[str, dict[str, str]] = {}
    for client_id, manifest in manifests.items():
        try:
            data = read_upload(upload_path(session.run, client_id))
            if session.remote_clients:  # simulated clients are called, and sign nothing
                block = manifest.signature.encode() if manifest.signature else None
                sender = senders.judge(
                    session.config.server, data, block, kind="upload", run=expected.run, round=expected.round
                )
                senders.check_name(sender, client_id)
            upload = upload_reader.decode(data, expected, client_id)
            accepted[client_id] = manifest
            if upload.codec == TEXT:  # another encoder may give arrays of another size
                path = encoded(session, client_id, manifest.sha256, encoding)
                sizes = upload_reader.stored(path, expected.declaration, session.codecs).bytes_by_codec
                accepted[client_id] = replace(manifest, bytes_by_codec=dict(sizes))
        except UploadError as error:
            accepted.pop(client_id, None)
            refused[client_id] = refusals.refuse(session, client_id, error)
            if session.remote_clients:
                what = {"client": client_id, "file_sha256": manifest.sha256, "kept": True, **refused[client_id]}
                record.add(session.run, record.REFUSED, expected.run, **what)
    return accepted, refused


def opened(session: Session, clients: Sequence[str]) -> list[ClientUpload]:
    """Uploads that were kept, in order of the client ids, texts as the embeddings that they are encoded to. Their
    arrays stay on disk until they are asked for."""
    declaration, encoding = session.generator.declare(), Encoding(session)
    paths = []
    for name in sorted(clients):
        manifest = manifest_of(session.run, name)
        paths.append(
            encoded(session, name, manifest.sha256, encoding)
            if manifest is not None and manifest.codec == TEXT
            else upload_path(session.run, name)
        )
    return [upload_reader.stored(path, declaration, session.codecs) for path in paths]


def reply_of(reply: bytes | ClientFailure) -> bytes:
    """The reply, or ClientFailedError where there is none."""
    if isinstance(reply, ClientFailure):
        raise ClientFailedError(reply.reason)
    return reply
