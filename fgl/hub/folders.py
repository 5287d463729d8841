"""Verifies a model folder of the user's own: without a list of checksums, but broken files can still be detected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fgl.contracts.progress import NullProgress, Progress
from fgl.errors import ModelError
from fgl.hub.metering import meter
from fgl.hub.weights import WeightsError, flaw, not_finite


@dataclass(frozen=True, slots=True)
class FolderVerdict:
    """What `verify_folder` found."""

    folder: Path
    """The folder."""

    right: int
    """Number of files without a visible problem."""

    read: int
    """Size of all weights, in bytes."""

    damaged: tuple[tuple[str, str], ...]
    """(path, what is wrong) of the other files."""


def verify_folder(folder: Path, progress: Progress | None = None) -> FolderVerdict:
    """Check every file: safetensors must be whole and finite, shards complete, JSON readable, and nothing a git-lfs
    pointer. Raises ModelError if the folder has no weights."""
    paths = list(_files(folder))
    weights = [path for path in paths if path.suffix == ".safetensors"]
    if not weights:
        raise ModelError(f"model: {folder} has no safetensors weights; expected the folder of a model")
    damaged: list[tuple[str, str]] = []
    total = sum(path.stat().st_size for path in weights)
    with meter(progress or NullProgress(), f"verify {folder.name}", total) as advance:
        for path in paths:
            problem = flaw(path) or (_numbers(path) if path in weights else "")
            if problem:
                damaged.append((path.relative_to(folder).as_posix(), problem))
            if path in weights:
                advance(path.stat().st_size)
    return FolderVerdict(folder, len(paths) - len(damaged), total, tuple(damaged))


def _files(folder: Path) -> Iterator[Path]:
    """Regular files, including links to files. Hidden folders and links to folders are not entered."""
    for home, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(home, name)
            if path.is_file() and not name.startswith("."):
                yield path


def _numbers(path: Path) -> str:
    try:
        bad = not_finite(path)
    except (WeightsError, OSError) as error:
        return str(error)
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"holds NaN or infinity, in {bad[0]}{more}" if bad else ""
