"""Whether a repository has the requested weights, judging by its list of files alone."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from posixpath import basename, dirname

from fgl.errors import ModelError
from fgl.hub.cache import File, Listing
from fgl.text import plain

_SAFE = ".safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHERS = (".h5", ".msgpack", ".onnx", ".gguf")
_SHOWN = 3


def check_weights(model: str, listing: Listing, patterns: Sequence[str], files: Sequence[File]) -> None:
    """Raise ModelError if the patterns ask for weights and select none: configurations alone are not a model.

    Args:
        model: The repository's name, for messages.
        listing: All files of the commit.
        patterns: What is requested.
        files: The files that the patterns select.
    """
    weight_patterns = [pattern for pattern in patterns if pattern.endswith(_SAFE) and not pattern.startswith("!")]
    missing = [
        place for place in dict.fromkeys(map(dirname, weight_patterns)) if not _has(place, weight_patterns, files)
    ]
    others = [file.path for file in listing.files if _is_weights(file.path)]
    # A request for any weights at all may be a request for a tokenizer.
    lacking = [
        place for place in missing if not _is_open(place, weight_patterns) or any(_in(path, place) for path in others)
    ]
    if not lacking:
        return
    beside = [path for path in others if any(_in(path, place) for place in lacking)]
    what = ", ".join(plain(place, 60) for place in lacking if place and "*" not in place)
    shown = ", ".join(plain(path, 100) for path in beside[:_SHOWN]) + (" …" if len(beside) > _SHOWN else "")
    raise ModelError(
        f"model: {model} has no weights{f' of {what}' if what else ''} that fgl can use, at commit "
        f"{listing.commit[:12]}{f' (it has {shown})' if shown else ''}: {_advice(beside)}"
    )


def _has(place: str, weight_patterns: Sequence[str], files: Sequence[File]) -> bool:
    weights = [file.path for file in files if file.path.endswith(_SAFE)]
    return any(_in(path, place) for path in weights) or (
        _is_open(place, weight_patterns) and not place and bool(weights)
    )


def _is_open(place: str, weight_patterns: Sequence[str]) -> bool:
    """Whether any weights in the folder are requested, rather than weights of a certain name."""
    return "*" in place or any(
        dirname(pattern) == place and basename(pattern) == f"*{_SAFE}" for pattern in weight_patterns
    )


def _in(path: str, place: str) -> bool:
    return place == "" or fnmatch(dirname(path), place)


def _is_weights(path: str) -> bool:
    return path.endswith((_SAFE, *_PICKLES, *_OTHERS))


def _advice(weight_paths: Sequence[str]) -> str:
    if any(path.endswith(_SAFE) for path in weight_paths):
        return (
            "fgl takes safetensors under their plain names and no variant such as fp16; name another revision or "
            "repository, or load it once with diffusers (variant='fp16'), save_pretrained it to a folder, and give "
            "that folder as model"
        )
    if any(path.endswith(_PICKLES) for path in weight_paths):
        return (
            "it has no safetensors weights, and fgl opens no others, since pickle can run code; name a revision that "
            "has them (the Hub keeps conversions as pull requests: see the model's Community page), or load it once "
            "where you trust it, save_pretrained it to a folder, and give that folder as model"
        )
    return "expected safetensors; choose another model or revision, or copy what is missing into a folder of yours"
