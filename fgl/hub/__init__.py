"""From the name of a model to a local folder: the user's own, or pulled from the Hugging Face Hub.

    cache.py    what a commit holds, what is there, locks and records beside the client's own cache
    remote.py   listings and files from the Hub: retried, resumed, checked
    pulling.py  cache first, then the Hub, then mirrors
    state.py, folders.py  what `fgl models list` and `verify` say
    reasons.py  what went wrong, and what to do
    contents.py, weights.py, documents.py  whether what is listed, or lies in a folder, can be weights; JSON; cards

The Hub client is imported when a Hub model is asked for and not before.
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
    """The folder that holds `model`, with the files that match `patterns` where they had to be pulled.

    revision: branch, tag or commit of a Hub model; None for its default branch. What is no commit is locked to one on
    the first pull. mirrors: Hub ids that hold the same files, asked in turn where the Hub has no `model`. For messages,
    key: the option that names the model; expected: what it may be; command: what pulls just what is asked for (see
    `pull_command`), by default the whole of it. Raises ModelError, which says what to do, where there is no such folder
    or the Hub does not give it.
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
    """The Hub id that a folder of the Hub cache was pulled from, which may be a mirror's; None for any other folder."""
    if commit_of(folder) is None or not folder.parent.parent.name.startswith("models--"):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/")


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub cache holds, None for any other folder."""
    inside_cache = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if inside_cache else None
