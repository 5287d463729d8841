"""Resolves the name of a model to a local folder: the user's own, or one pulled from the Hugging Face Hub.

    cache.py              what a commit holds, which files are present, locks and records beside the client's
    remote.py, http.py    listings and files from the Hub: retried, resumed, checked
    sources.py            the model and its mirrors, and how a commit is held
    pulling.py            the order of a pull: the cache, then the Hub, then mirrors
    state.py, folders.py  what `fgl models list` and `fgl models verify` show
    messages.py           what went wrong, and what to do
    contents.py           whether a listing has weights that fgl can use
    weights.py            whether files of weights are whole and finite
    documents.py          JSON files and model cards
    metering.py           progress in bytes

The Hub client is imported only when a Hub model is requested.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fgl.errors import ModelError
from fgl.hub.cache import is_hub_id
from fgl.hub.pulling import pull

__all__ = [
    "FolderVerdict", "Plan", "State", "Verdict", "check_available", "commit", "commit_of", "folder_of", "is_hub_id",
    "is_local", "paths", "pull", "pull_command", "repository_of", "resolve", "size", "state", "verify", "verify_folder",
]  # fmt: skip


def resolve(
    model: str,
    revision: str | None,
    patterns: Sequence[str],
    mirrors: Sequence[str] = (),
    *,
    key: str = "model",
    expected: str = "a folder or a Hub id (owner/name)",
    command: str | None = None,
) -> Path:
    """Return the folder that holds `model`, pulling it first if necessary.

    Args:
        model: A folder, or a Hub id.
        revision: Branch, tag or commit of a Hub model; None: its default branch. A branch or tag is locked to its
            commit on the first pull.
        patterns: The files to pull. A folder of the user's is not checked against them.
        mirrors: Hub ids that hold the same files, tried in turn if the Hub does not have `model`.
        key: The option that names the model, for messages.
        expected: What that option may be, for messages.
        command: The command that pulls exactly these files, for messages (see `pull_command`); by default the one that
            pulls the whole model.

    Raises ModelError, which says what to do, if the folder does not exist or the Hub does not provide the model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"revision: got {revision} for the folder {model}; only Hub models have revisions")
        return folder
    if folder.exists() or not is_hub_id(model):
        kind = "is a file" if folder.exists() else "does not exist"
        raise ModelError(f"{key}: {model} {kind}; expected {expected}")
    try:
        return pull(model, revision, patterns, mirrors, command=command)
    except ModelError as error:
        if key == "model":
            raise
        raise ModelError(f"{key}: {str(error).removeprefix('model: ')}") from error


def is_local(model: str) -> bool:
    """Whether `model` names a folder rather than a Hub repository."""
    return Path(model).expanduser().is_dir()


def repository_of(folder: Path) -> str | None:
    """The Hub id that a folder of the Hub cache was pulled from, possibly that of a mirror; None for other folders."""
    if commit_of(folder) is None or not folder.parent.parent.name.startswith("models--"):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/")


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub cache holds; None for other folders."""
    inside_cache = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if inside_cache else None
