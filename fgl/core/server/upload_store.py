"""Where the server keeps an upload, and what it removes of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fgl.core.store.owned import file_digest
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import from_json
from fgl.errors import StoreError
from fgl.io import files


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadManifest:
    """What the server keeps beside an upload that it has accepted."""

    client_id: str
    """Whose upload it is."""
    round: int
    """Of the run."""
    request: str
    """Digest of what the client was asked; empty where it answers by file."""
    bytes: int
    """Of the file."""
    rows: int
    """Of the upload."""
    weight_per_class: list[float]
    """Samples of each class that its rows stand for, by the client's own account."""
    sha256: str
    """Of the file."""
    codec: str
    """In which it came."""
    bytes_by_codec: dict[str, int]
    """Codec → bytes of an upload that says the same."""
    codec_error: dict[str, tuple[float, float]]
    """Array → largest error and relative RMS."""
    signature: str = ""
    """Its signature block, by which it is judged again when keys change; empty where it came without one."""


def drop_encoded(run: RunDir, client_id: str) -> None:
    path = encoded_path(run, client_id)
    run.remove_named(path.with_suffix(".json"), path)


def manifest_of(run: RunDir, client_id: str) -> UploadManifest | None:
    """What is kept beside a client's upload, None where that is not there or not what was written."""
    sealed = run.read_sealed(upload_path(run, client_id).with_suffix(".json"))
    return None if sealed is None else from_json(UploadManifest, sealed)


def kept(run: RunDir, client_id: str) -> UploadManifest | None:
    """The manifest of a client's upload, None where there is none or its bytes are no longer those that were kept."""
    manifest = manifest_of(run, client_id)
    if manifest is None or manifest.client_id != client_id:
        return None
    try:
        return manifest if file_digest(upload_path(run, client_id)) == manifest.sha256 else None
    except StoreError:
        return None


def read_upload(path: Path) -> bytes:
    try:
        return files.read_bytes(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def private_folder(run: RunDir, client_id: str) -> Path:
    """Where a simulated client keeps what stays with it; its own files are noted there."""
    return run.claim("clients", client_id, "private")


def upload_path(run: RunDir, client_id: str) -> Path:
    return run.path("server", "uploads", f"{client_id}.safetensors")


def encoded_path(run: RunDir, client_id: str) -> Path:
    return run.path("server", "encoded", f"{client_id}.safetensors")


def drop_upload(run: RunDir, client_id: str) -> None:
    """Remove a client's upload, and what was encoded of it."""
    path = upload_path(run, client_id)
    run.remove_named(path.with_suffix(".json"), path)
    drop_encoded(run, client_id)
