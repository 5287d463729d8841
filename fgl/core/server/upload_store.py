"""Where the server keeps an upload, and what it removes of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fgl.core.store.owned import file_digest
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError
from fgl.io import files


def drop_encoded(run: RunDir, client_id: str) -> None:
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
