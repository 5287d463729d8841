"""The server's door: uploads are validated, kept, refused or taken out again. No client's images, files or names here.

An upload is kept as `server/uploads/<client>.safetensors`, byte for byte, beside a sealed manifest that is its commit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import client, upload
from fgl.core.errors import (
    ClientFailedError,
    StoreError,
    TooFewUploadsError,
    UploadError,
    UploadReplayError,
    UploadSizeError,
)
from fgl.core.store import RunDir, digest_of, file_digest
from fgl.core.types import Failure, StageContext

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.types import ClientUpload

# A run keeps the last refusals, not all of them: whoever may send files must not be able to fill the disk with them.
_REFUSALS_KEPT = 1000
_REASON = 500  # characters


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
    )


def accept(session: Session, data: bytes, expected: upload.Expected, client_id: str | None, request: str) -> str:
    """Validate an upload and keep it; returns whose it is. client_id: whose it must be, None for anybody on the list.
    request: digest of what the client was asked, "" where it answers by file. Raises UploadError."""
    accepted = upload.decode(data, expected, client_id)
    path = upload_path(session.run, accepted.client_id)
    session.run.write(path, data)
    held = np.bincount(accepted.class_id, accepted.weight, minlength=len(expected.class_names))
    session.run.write_sealed(
        path.with_suffix(".json"),
        {
            "client_id": accepted.client_id, "round": accepted.round, "request": request, "bytes": len(data),
            "rows": len(accepted), "text_bytes": accepted.text_bytes, "weight_per_class": held.round(6).tolist(),
            "sha256": hashlib.sha256(data).hexdigest(),
        },
    )  # fmt: skip
    return accepted.client_id


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
    session: Session, manifests: Mapping[str, Mapping[str, Any]], expected: upload.Expected
) -> tuple[dict[str, Mapping[str, Any]], dict[str, dict[str, str]]]:
    """Of uploads that are kept: those that the configuration, which may have changed since, still accepts, and the
    refusals of the others."""
    accepted: dict[str, Mapping[str, Any]] = {}
    refused: dict[str, dict[str, str]] = {}
    for client_id, manifest in manifests.items():
        try:
            upload.decode(_read(upload_path(session.run, client_id)), expected, client_id)
            accepted[client_id] = manifest
        except UploadError as error:
            refused[client_id] = refuse(session, client_id, error)
    return accepted, refused


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def opened(session: Session, clients: Sequence[str]) -> list[ClientUpload]:
    """Uploads that were kept, in order of the client ids. Their arrays stay on disk until they are asked for."""
    declaration = session.generator.declare()
    return [upload.stored(upload_path(session.run, name), declaration) for name in sorted(clients)]


def upload_path(run: RunDir, client_id: str) -> Path:
    return run.path("server", "uploads", f"{client_id}.safetensors")


def summary(manifests: Mapping[str, Mapping[str, Any]], refused: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the report says of the uploads. uploads: digest of who sent what."""
    sizes = {name: one["bytes"] for name, one in sorted(manifests.items())}
    return {
        "bytes_total": sum(sizes.values()), "bytes_per_client": sizes,
        "text_bytes_total": sum(one["text_bytes"] for one in manifests.values()),
        "prompts": {name: one["rows"] for name, one in sorted(manifests.items())},
        "weight_per_class": {name: one["weight_per_class"] for name, one in sorted(manifests.items())},
        "uploads": digest_of({name: one["sha256"] for name, one in manifests.items()}),
        "refused": dict(refused),
    }  # fmt: skip


def check_enough(session: Session, accepted: int, asked: int, refused: Mapping[str, Mapping[str, str]]) -> None:
    """Raises TooFewUploadsError where fewer uploads were accepted than the run needs."""
    needed = session.config.upload.min_clients
    if accepted >= needed:
        return
    reasons = "; ".join(f"{name}: {one['reason']}" for name, one in list(refused.items())[:5])
    said = f" ({reasons})" if reasons else ""
    raise TooFewUploadsError(
        f"{accepted} of {asked} clients' uploads were accepted, {needed} are needed (upload.min_clients){said}"
    )


def refuse(session: Session, client_id: str, error: UploadError) -> dict[str, str]:
    """Tell the trackers; returns what the report says."""
    context = StageContext(str(session.run.root), "clients")
    reason = str(error) if len(str(error)) <= _REASON else f"{str(error)[:_REASON]}…"
    session.manager.upload_refused(context, client_id, error.rule, reason)
    return {"rule": error.rule, "reason": reason}


def failed(reply: bytes | Failure) -> bytes:
    """The reply, or ClientFailedError where there is none."""
    if isinstance(reply, Failure):
        raise ClientFailedError(reply.reason)
    return reply


# --- uploads that come as files -------------------------------------------------------------------------------------


def mark_apart(run: RunDir) -> None:
    """Note that this run's clients are elsewhere: nobody here is to be asked for an upload."""
    run.write_sealed(run.path("server", "apart.json"), {"version": 1})


def is_apart(run: RunDir) -> bool:
    return run.path("server", "apart.json").exists()


def ingest(
    session: Session, clients: Sequence[str], files: Iterable[Path], replace: bool = False
) -> dict[str, dict[str, str]]:
    """Validate each file and keep those that are accepted; the others do not stop it.

    clients: ids that may answer. replace: whether another upload of the same client takes the place of an earlier one.
    Returns file → {"client", "outcome" ("accepted", "already there", "refused" or "unreadable"), "rule", "reason"}."""
    expected = expectation(session, clients)
    found: dict[str, dict[str, str]] = {}
    with session.progress.track("ingest", 0, "files") as task:
        for path in files:
            try:
                # one byte beyond the cap tells a larger file, whatever its length is said to be
                with path.open("rb") as file:
                    data = file.read(expected.max_bytes + 1)
                    size = max(len(data), os.fstat(file.fileno()).st_size)
            except OSError as error:
                found[str(path)] = {"client": "", "outcome": "unreadable", "rule": "", "reason": error.strerror or ""}
                continue
            # The run's own records hold no path of a sender: a refused file is known by its digest.
            name = f"file {hashlib.sha256(data).hexdigest()[:16]}"
            try:
                client_id, outcome = _ingest(session, expected, data, size, replace)
                _remember(session.run, name, None)
                found[str(path)] = {"client": client_id, "outcome": outcome, "rule": "", "reason": ""}
            except UploadError as error:
                note = refuse(session, name, error)
                _remember(session.run, name, note)
                found[str(path)] = {"client": "", "outcome": "refused", **note}
            task.advance(1)
    return found


def _ingest(session: Session, expected: upload.Expected, data: bytes, size: int, replace: bool) -> tuple[str, str]:
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
    if earlier is not None and not replace:
        raise UploadReplayError(
            f"refused: {sender} has already sent another upload for round {client.ROUND}; --replace takes the new one"
        )
    accept(session, data, expected, sender, "")
    return sender, "accepted"


def refusals(run: RunDir) -> dict[str, dict[str, str]]:
    """Files that were refused and not accepted later, by a name that is their digest, the last thousand of them.

    Raises StoreError where the list is damaged."""
    path = _refusals(run)
    if not path.exists():
        return {}
    found = run.read_sealed(path)
    if found is None:
        raise StoreError(f"{path} is damaged: delete it, and what was refused so far is no longer known")
    return dict(found["files"])


def _remember(run: RunDir, name: str, note: dict[str, str] | None) -> None:
    """note: None where the file has been accepted after all."""
    known = refusals(run)
    if known.pop(name, None) is None and note is None:
        return
    if note is not None:
        known[name] = note
    run.write_sealed(_refusals(run), {"files": dict(list(known.items())[-_REFUSALS_KEPT:])})


def _refusals(run: RunDir) -> Path:
    return run.path("server", "refused.json")


def missing(run: RunDir, clients: Sequence[str]) -> list[str]:
    """Clients of whom there is no upload yet, and that were not taken out."""
    out = set(forgotten(run))
    return [name for name in clients if name not in out and kept(run, name) is None]


# --- taking a client out --------------------------------------------------------------------------------------------


def forgotten(run: RunDir) -> list[str]:
    """Clients that were taken out. Raises StoreError where the list is damaged: whom to leave out must not be lost."""
    path = run.path("server", "forgotten.json")
    if not path.exists():
        return []
    found = run.read_sealed(path)
    if found is None:
        raise StoreError(f"{path} is damaged: delete it, and take the clients out again with fgl server forget")
    return list(found["clients"])


def forget(session: Session, clients: Sequence[str], client_id: str) -> None:
    """Remove all that the run holds of a client, and take no upload of it again. Raises UploadError where there is no
    such client."""
    out = forgotten(session.run)
    if client_id not in clients:
        raise UploadError(f"there is no client {client_id!r} in this run; there are {', '.join(sorted(clients)[:20])}")
    # First the note, then the files: killed in between, the client is out, and the rest is removed by the next call.
    # Runs with other prompts, which are controls of this one, hold uploads of the same clients.
    for folder in (session.run.root, *session.run.path("controls").glob("prompts-*")):
        run = RunDir(folder)
        run.write_sealed(run.path("server", "forgotten.json"), {"clients": sorted({*out, client_id})})
        drop(run, [client_id])
        # A stage's record is replaced when the stage runs again; this one names the client and what it held.
        run.forget_stage("clients")


def clear(run: RunDir) -> None:
    """Remove all that was made of uploads, where too few are left to make it again."""
    for folder in (run.root, *run.path("controls").glob("prompts-*")):
        for name in ("server/shards", "server/shards.previous", "classifier", "train", "sheets", "checkpoints"):
            shutil.rmtree(folder / name, ignore_errors=True)
        files = [folder / name for name in ("server/plan.parquet", "report.json", "report.md")]
        for path in (*files, *folder.glob("controls/*.json"), *folder.glob("stages/*.json")):
            if path.name != "partition.json":
                path.unlink(missing_ok=True)
    shutil.rmtree(run.path("controls", "class-list"), ignore_errors=True)


def drop(run: RunDir, clients: Iterable[str]) -> None:
    """Remove clients' uploads and, in a simulation, what they kept."""
    for client_id in clients:
        path = upload_path(run, client_id)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        shutil.rmtree(run.path("clients", client_id), ignore_errors=True)
