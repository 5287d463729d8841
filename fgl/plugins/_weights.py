"""Checks that weights fit the model that they are loaded into: complete, under its names, and finite.

transformers and diffusers fill missing weights with random numbers, different in every process, and only log it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from fgl.errors import ModelError
from fgl.hub.weights import WeightsError, flaw, not_finite
from fgl.io.files import digest
from fgl.plugins._logging import quiet
from fgl.text import plain, some

# Layers that published models lack, because nothing that fgl uses reads them.
_UNUSED = ("pooler", "pooling_layer")


def identity(files: Iterable[Path]) -> str:
    """sha256 over names and contents of the files that a model is loaded from."""
    contents = {path.name: digest(path) for path in files}
    return hashlib.sha256(json.dumps(contents, sort_keys=True, allow_nan=False).encode()).hexdigest()


def check_files(files: Iterable[Path], whose: str, home: Path) -> None:
    """Raise ModelError for a file that cannot be weights: truncated, a git-lfs pointer, an index without its shards.

    Args:
        files: The files to check.
        whose: The beginning of the message.
        home: Folder that paths in messages are relative to.
    """
    for path in files:
        if problem := flaw(path):
            raise ModelError(f"{whose}: {plain(path.relative_to(home).as_posix())} in {plain(home)} {problem}")


def check_names(
    build: Callable[..., Any],
    folder: Path,
    files: Sequence[Path],
    whose: str,
    ignore: Callable[[Any, str], bool] | None = None,
) -> None:
    """Raise ModelError if names and shapes in the files are not those that the model needs. Loads no numbers.

    Args:
        build: The `from_pretrained` of a class of transformers or diffusers, with its arguments bound.
        folder: The model's folder.
        files: Its weights.
        whose: The beginning of the message.
        ignore: (model, name) → whether the weights of that name may be missing; None: those that nothing uses.
    """
    paths = (folder / "config.json", *files)
    stamps = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists())
    model, info = _on_meta(build, folder, stamps)
    complain(model, info, whose, ignore)


@lru_cache(maxsize=16)
def _on_meta(build: Callable[..., Any], folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> tuple[Any, Any]:
    """(model without numbers, the library's report on names and shapes).

    The library's own rules apply, which rename and tie weights. stamps: sizes and times, so that changed files are
    checked again.
    """
    with quiet(*_diffusers()):
        loaded: tuple[Any, Any] = build(
            folder,
            device_map="meta",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return loaded


def complain(model: Any, info: Mapping[str, Any], whose: str, ignore: Callable[[Any, str], bool] | None = None) -> None:
    """Raise ModelError if weights are missing or of the wrong shape.

    Args:
        model: The model.
        info: The library's `output_loading_info`.
        whose: The beginning of the message.
        ignore: See `check_names`.
    """
    may = ignore or unused
    needed = {name for name, _ in model.named_parameters()}
    missing = sorted(name for name in info["missing_keys"] if name in needed and not may(model, name))
    if missing:
        unknown = sorted(str(name) for name in info["unexpected_keys"])
        raise ModelError(
            f"{whose} lacks {len(missing)} of its {len(needed)} weights ({_some(missing)})"
            f"{_renamed(missing, unknown)}; expected all of them: missing weights would be random numbers, different "
            "in every process"
        )
    misshapen = sorted(tuple(entry) for entry in info["mismatched_keys"] if not may(model, str(entry[0])))
    if misshapen:
        name, got, wanted = misshapen[0]
        raise ModelError(
            f"{whose} has {len(misshapen)} weights of another shape than its config.json says, such as {plain(name)}: "
            f"got {list(got)}, expected {list(wanted)}; the folder mixes files of two models"
        )


def unused(model: Any, name: str) -> bool:
    """Whether nothing reads the weights of that name."""
    return any(word in name for word in _UNUSED)


def check_content(files: Iterable[Path], whose: str) -> None:
    """Raise ModelError if weights hold NaN or infinity. Reads the files whole, once per process."""
    for path in files:
        try:
            bad = not_finite(path)
        except WeightsError as error:
            raise ModelError(f"{whose}: {plain(path.name)} {error}") from error
        if bad:
            raise _not_finite(bad, whose)


def check_numbers(module: torch.nn.Module, whose: str, files: Iterable[Path] = ()) -> None:
    """As `check_content`, for a loaded model. files: its weights, in case it was rounded to 16 bits."""
    bad = [name for name, weight in module.named_parameters() if not bool(torch.isfinite(weight).all())]
    if not bad:
        return
    if next(module.parameters()).dtype == torch.float16:
        check_content(files, whose)
        raise ModelError(f"{whose} has weights that fp16 cannot hold ({_some(bad)}); set its dtype to fp32 or bf16")
    raise _not_finite(bad, whose)


def _not_finite(names: Sequence[str], whose: str) -> ModelError:
    return ModelError(
        f"{whose} has weights that are not finite (NaN or infinity in {_some(names)}); no number format fixes that: "
        "its training diverged, or it was damaged when it was converted; take another checkpoint"
    )


def _some(names: Sequence[str]) -> str:
    return some([plain(name, 120) for name in names])


def _renamed(missing: Sequence[str], unknown: Sequence[str]) -> str:
    """A clause about the weights under other names, and how the names differ."""
    if not unknown:
        return ""
    before = {name.removesuffix(wanted) for wanted in missing for name in unknown if name.endswith(f".{wanted}")}
    clause = f", and holds {len(unknown)} that it cannot use ({_some(unknown)})"
    if len(before) == 1:
        prefix = plain(before.pop(), 60)
        return f"{clause}: their names begin with {prefix!r}, as a wrapper leaves them; save the model inside it"
    return clause


def _diffusers() -> tuple[Any, ...]:
    """The logging module of diffusers, if diffusers has been imported."""
    import sys

    module = sys.modules.get("diffusers.utils.logging")
    return () if module is None else (module,)
