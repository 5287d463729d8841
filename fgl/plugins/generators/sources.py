"""Where a pipeline is: shipped with fgl, the user's own folder, or the Hub; and which of its files each side needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from fgl import hub
from fgl.core.errors import ModelError

EMBEDDED = "embedded:"
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
"""File name of each part's weights, without `.safetensors`."""

# Configurations of all parts are a few kilobytes: both sides need them to declare what they take.
_ALWAYS = (
    "model_index.json", "README.md", "scheduler/scheduler_config.json", "tokenizer/*",
    "text_encoder/config.json", "unet/config.json", "vae/config.json",
)  # fmt: skip


def resolve(model: str, revision: str | None, parts: Collection[str], mirrors: Sequence[str] = ()) -> Path:
    """The folder that holds `model`, with the weights of `parts` (keys of WEIGHTS) where they had to be pulled.

    Raises ModelError, which says what to do, where there is no such folder or the Hub does not give it."""
    if model.startswith(EMBEDDED):
        return _embedded(model, revision)
    return hub.resolve(model, revision, patterns(parts), mirrors)


def patterns(parts: Collection[str]) -> list[str]:
    """Files to pull: safetensors of full precision and nothing else, no pickle, no code, no duplicates in other
    formats."""
    wanted = [*_ALWAYS]
    for part in parts:
        stem = f"{part}/{WEIGHTS[part]}"
        wanted += [f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-*-of-*.safetensors"]
    return wanted


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
