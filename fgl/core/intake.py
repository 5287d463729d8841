"""The server's door: uploads are validated, kept, refused or taken out again. No client's images, files or names here.

An upload is kept as `server/uploads/<client>.safetensors`, byte for byte, beside a sealed manifest that is its commit.

Texts are encoded here, as a client would have encoded them, into `server/encoded/<client>.safetensors`: the upload that
the client would have sent in fp32. That file is derived; it is recomputed where it is missing, damaged, or of another
text or encoder.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import client, journal, leaving, outputs, refusals, upload
from fgl.core import files as files_
from fgl.core.codecs import TEXT
from fgl.core.errors import (
    ClientFailedError,
    StoreError,
    UploadError,
    UploadReplayError,
    UploadSizeError,
)
from fgl.core.store import RunDir, digest_of, file_digest
from fgl.core.text import plain
from fgl.core.types import Failure, StageContext

if TYPE_CHECKING:
    from fgl.core.contracts import Encoder
    from fgl.core.session import Session
    from fgl.core.types import ClientUpload

log = logging.getLogger(__name__)
APART = outputs.APART_LINE
"""First line of config.yaml."""


def expectation(session: Session, clients: Sequence[str]) -> upload.Expected:
    options = session.config.upload
    return upload.Expected(
        declaration=session.generator.declare(),
        clients=frozenset(clients),
        round=client.ROUND,
        class_names=session.info.class_names,
        max_bytes=int(options.max_megabytes * 1e6),
        max_rows=options.max_rows,
        run=options.run_id,
        texts=options.codec == TEXT,
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
        return digest_of({**said, "device": self.session.device.split(":")[0], "format": upload.VERSION})

    def embeddings(self, accepted: ClientUpload, expected: upload.Expected) -> bytes:
        """The upload of the same prompts in fp32, byte for byte what the client would have sent."""
        arrays, indices = client.encode_once_warned(self.encoder, accepted.prompts)
        client.warn_of_cuts(self.encoder, accepted.prompts, accepted.client_id, expected.class_names, quote=False)
        sender = upload.Sender(accepted.client_id, accepted.round, expected.class_names, expected.run)
        return upload.encode(sender, expected.declaration, "fp32", accepted.prompts, arrays, indices)


def accept(
    session: Session, data: bytes, expected: upload.Expected, client_id: str | None, request: str, encoding: Encoding
) -> str:
    """Validate an upload and keep it; returns whose it is. client_id: whose it must be, None for anybody on the list.
    request: digest of what the client was asked, "" where it answers by file. Raises UploadError."""
    accepted = upload.decode(data, expected, client_id)
    path, digest = upload_path(session.run, accepted.client_id), hashlib.sha256(data).hexdigest()
    context = StageContext(str(session.run.root), "clients")
    sizes, embeddings = dict(accepted.bytes_by_codec), b""
    if accepted.codec == TEXT:
        embeddings = encoding.embeddings(accepted, expected)
        sizes = dict(_of_own(embeddings, expected, accepted.client_id).bytes_by_codec)
    held = np.bincount(accepted.class_id, accepted.weight, minlength=len(expected.class_names))
    # What was encoded of an earlier upload goes first: killed in between, there is nothing that fits no upload.
    _drop_encoded(session.run, accepted.client_id)
    session.run.write(path, data)
    session.run.write_sealed(
        path.with_suffix(".json"),
        {
            "client_id": accepted.client_id, "round": accepted.round, "request": request, "bytes": len(data),
            "rows": len(accepted), "weight_per_class": held.round(6).tolist(), "sha256": digest,
            "codec": accepted.codec, "bytes_by_codec": sizes,
            "codec_error": {name: list(error) for name, error in accepted.codec_error.items()},
        },
    )  # fmt: skip
    session.manager.upload_accepted(context, accepted.client_id, digest, len(data))
    if embeddings:
        _keep_encoded(session.run, accepted.client_id, embeddings, digest, encoding)
    return accepted.client_id


def identities(session: Session, manifests: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Of each client whose upload is kept, a digest of what it gives: of its bytes, and where they are texts, of what
    encodes them."""
    encoding, found = Encoding(session), {}
    for name, manifest in sorted(manifests.items()):
        if manifest is not None:
            texts = manifest.get("codec") == TEXT
            found[name] = digest_of([manifest["sha256"], encoding.identity]) if texts else str(manifest["sha256"])
    return found


def _of_own(embeddings: bytes, expected: upload.Expected, client_id: str) -> ClientUpload:
    # whether what it becomes is too large was judged by shapes, before it was encoded
    return upload.decode(embeddings, replace(expected, max_bytes=2**60), client_id)


def _keep_encoded(run: RunDir, client_id: str, embeddings: bytes, digest: str, encoding: Encoding) -> None:
    """digest: of the texts."""
    path = encoded_path(run, client_id)
    run.write(path, embeddings)
    sealed = {"texts": digest, "encoding": encoding.identity, "sha256": hashlib.sha256(embeddings).hexdigest()}
    run.write_sealed(path.with_suffix(".json"), sealed)


def _encoded(session: Session, client_id: str, digest: str, encoding: Encoding) -> Path:
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
    accepted = upload.decode(_read(upload_path(session.run, client_id)), expected, client_id)
    embeddings = encoding.embeddings(accepted, expected)
    _of_own(embeddings, expected, client_id)
    _keep_encoded(session.run, client_id, embeddings, digest, encoding)
    return path


def _drop_encoded(run: RunDir, client_id: str) -> None:
    path = encoded_path(run, client_id)
    run.remove_named(path.with_suffix(".json"), path)


def kept(run: RunDir, client_id: str) -> dict[str, Any] | None:
    """The manifest of a client's upload, None where there is none or its bytes are no longer those that were kept."""
    path = upload_path(run, client_id)
    manifest = run.read_sealed(path.with_suffix(".json"))
    if manifest is None or manifest["client_id"] != client_id:
        return None
    try:
        return manifest if file_digest(path) == manifest["sha256"] else None
    except StoreError:
        return None


def judged(
    session: Session, manifests: Mapping[str, Mapping[str, Any]], expected: upload.Expected, encoding: Encoding
) -> tuple[dict[str, Mapping[str, Any]], dict[str, dict[str, str]]]:
    """Of uploads that are kept: those that the configuration, which may have changed since, still accepts, and the
    refusals of the others."""
    accepted: dict[str, Mapping[str, Any]] = {}
    refused: dict[str, dict[str, str]] = {}
    for client_id, manifest in manifests.items():
        try:
            found = upload.decode(_read(upload_path(session.run, client_id)), expected, client_id)
            accepted[client_id] = manifest
            if found.codec == TEXT:  # another encoder may give arrays of another size
                path = _encoded(session, client_id, manifest["sha256"], encoding)
                sizes = upload.stored(path, expected.declaration).bytes_by_codec
                accepted[client_id] = {**manifest, "bytes_by_codec": dict(sizes)}
        except UploadError as error:
            accepted.pop(client_id, None)
            refused[client_id] = refusals.refuse(session, client_id, error)
    return accepted, refused


def _read(path: Path) -> bytes:
    try:
        return files_.read_bytes(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def opened(session: Session, clients: Sequence[str]) -> list[ClientUpload]:
    """Uploads that were kept, in order of the client ids, texts as the embeddings that they are encoded to. Their
    arrays stay on disk until they are asked for."""
    declaration, encoding = session.generator.declare(), Encoding(session)
    paths = []
    for name in sorted(clients):
        manifest = session.run.read_sealed(upload_path(session.run, name).with_suffix(".json"))
        texts = manifest is not None and manifest.get("codec") == TEXT
        paths.append(
            _encoded(session, name, manifest["sha256"], encoding)
            if manifest is not None and texts
            else upload_path(session.run, name)
        )
    return [upload.stored(path, declaration) for path in paths]


def private_folder(run: RunDir, client_id: str) -> Path:
    """Where a simulated client keeps what stays with it; its own files are noted there."""
    return run.claim("clients", client_id, "private")


def upload_path(run: RunDir, client_id: str) -> Path:
    return run.path("server", "uploads", f"{client_id}.safetensors")


def encoded_path(run: RunDir, client_id: str) -> Path:
    return run.path("server", "encoded", f"{client_id}.safetensors")


def failed(reply: bytes | Failure) -> bytes:
    """The reply, or ClientFailedError where there is none."""
    if isinstance(reply, Failure):
        raise ClientFailedError(reply.reason)
    return reply


# --- uploads that come as files -------------------------------------------------------------------------------------


def mark_apart(run: RunDir) -> None:
    """Note that this run's clients are elsewhere: nobody here is to be asked for an upload."""
    path = run.path("server", "apart.json")
    if run.read_sealed(path) is None:
        run.write_sealed(path, {"version": 1})


def is_apart(run: RunDir) -> bool:
    """By a file of its own, or by the first line of the configuration where that file was lost: a run whose clients
    are elsewhere is never to simulate them."""
    return outputs.is_apart(run.root)


def ingest(
    session: Session, clients: Sequence[str], files: Iterable[Path], replace: bool = False
) -> dict[str, dict[str, str]]:
    """Validate each file and keep those that are accepted; the others do not stop it.

    clients: ids that may answer. replace: whether another upload of the same client takes the place of an earlier one.
    Returns file → {"client", "outcome" ("accepted", "already there", "refused" or "unreadable"), "rule", "reason"}."""
    expected, encoding = expectation(session, clients), Encoding(session)
    found: dict[str, dict[str, str]] = {}
    with session.progress.track("ingest", 0, "files") as task:
        for path in files:
            try:
                # one byte beyond the cap tells a larger file, whatever its length is said to be
                with files_.open_regular(path) as file:
                    data = file.read(expected.max_bytes + 1)
                    size = max(len(data), os.fstat(file.fileno()).st_size)
            except OSError as error:
                found[str(path)] = {"client": "", "outcome": "unreadable", "rule": "", "reason": error.strerror or ""}
                continue
            # The run's own records hold no path of a sender: a refused file is known by its digest.
            name = f"file {hashlib.sha256(data).hexdigest()[:16]}"
            try:
                client_id, outcome = _ingest(session, expected, data, size, replace, encoding)
                refusals.remember(session.run, name, None)
                found[str(path)] = {"client": client_id, "outcome": outcome, "rule": "", "reason": ""}
            except UploadError as error:
                note = refusals.refuse(session, name, error, refusals.count(session.run) + 1)
                refusals.remember(session.run, name, note)
                found[str(path)] = {"client": "", "outcome": "refused", **note}
            task.advance(1)
    return found


def _ingest(
    session: Session, expected: upload.Expected, data: bytes, size: int, again: bool, encoding: Encoding
) -> tuple[str, str]:
    if size > expected.max_bytes:
        raise UploadSizeError(
            f"refused: upload of {size} bytes; the cap is {expected.max_bytes} (upload.max_megabytes)"
        )
    sender = upload.decode(data, expected).client_id
    if sender in forgotten(session.run):
        raise UploadReplayError(f"refused: {sender} was taken out of this run (fgl server forget)")
    earlier = kept(session.run, sender)
    if earlier is not None and earlier["sha256"] == hashlib.sha256(data).hexdigest():
        return sender, "already there"
    if earlier is not None and not again:
        raise UploadReplayError(
            f"refused: {sender} has already sent another upload for round {client.ROUND}; --replace takes the new one"
        )
    accept(session, data, expected, sender, "", encoding)
    return sender, "accepted"


def missing(run: RunDir, clients: Sequence[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(forgotten(run))
    return [name for name in clients if name not in out and kept(run, name) is None]


# --- taking a client out --------------------------------------------------------------------------------------------


def forgotten(run: RunDir) -> list[str]:
    """Clients that were taken out. Raises StoreError where the list is damaged: whom to leave out must not be lost."""
    return list(leaving.forgotten(run))


def forget(session: Session, clients: Sequence[str], client_id: str) -> None:
    """Remove all that the run holds of a client, and take no upload of it again. Raises UploadError where there is no
    such client."""
    if client_id not in clients:
        raise UploadError(f"there is no client {client_id!r} in this run; there are {', '.join(sorted(clients)[:20])}")
    # First the note, then the files: killed in between, the client is out, and the rest is removed by the next call.
    # Runs with other prompts, which are controls of this one, hold uploads of the same clients.
    for run in (session.run, *session.run.nested_below("controls")):
        leaving.add(run, client_id)
        drop(run, [client_id])
        drop_audit(run)
        # A stage's record is replaced when the stage runs again; this one names the client and what it held.
        run.forget_stage("clients")
        journal.redact(run, client_id)
        refusals.forget(run, client_id)
        left = [path.relative_to(run.root) for path in run.path("clients", client_id).rglob("*") if path.is_file()]
        if left:
            names = plain(", ".join(map(str, left[:5])) + (", …" if len(left) > 5 else ""))
            log.warning("left in %s, since fgl did not write it: %s", run.root, names)
    session.manager.client_forgotten(StageContext(str(session.run.root), "clients"), client_id)


def clear(run: RunDir) -> None:
    """Remove all that was made of uploads, where too few are left to make it again."""
    for one in (run, *run.nested_below("controls")):
        names = (
            "config.yaml", "environment.json", "partition.json", "metrics.jsonl", "stages/partition.json", "clients",
            "server/uploads", "server/apart.json", "server/refused.json", "server/forgotten.json", "forgotten.json",
            *(f"controls/{nested.root.name}" for nested in one.nested_below("controls")),
        )  # fmt: skip
        one.remove_all(*map(one.path, names))


def drop_audit(run: RunDir) -> None:
    """Remove what an audit has found and kept: it shows images and prompts of clients, and names them."""
    run.remove_below(run.path("audit"))
    run.remove(*(path for path in run.owned("stages") if path.name.startswith("audit-")))


def drop(run: RunDir, clients: Iterable[str]) -> None:
    """Remove clients' uploads and, in a simulation, what they kept."""
    for client_id in clients:
        drop_upload(run, client_id)
        run.remove_below(run.path("clients", client_id))


def drop_upload(run: RunDir, client_id: str) -> None:
    """Remove a client's upload, and what was encoded of it."""
    path = upload_path(run, client_id)
    run.remove_named(path.with_suffix(".json"), path)
    _drop_encoded(run, client_id)
