"""A folder of models that is the user's own: there is no list of checksums, but what is broken can be seen."""

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
    """right: files in which nothing wrong is seen. read: bytes of weights. damaged: (path, what is wrong) of others."""

    folder: Path
    right: int
    read: int
    damaged: tuple[tuple[str, str], ...]


def verify_folder(folder: Path, progress: Progress | None = None) -> FolderVerdict:
    """Look at every file: whole safetensors of finite numbers, shards that are all there, JSON that can be read, and no
    git-lfs pointer. Raises ModelError where there are no weights to look at."""
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
    """Regular files, links to such among them; hidden folders and links to folders are not entered."""
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
