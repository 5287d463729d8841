"""Assigns the parquet files of a folder to splits, and finds missing ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgl.errors import DataError
from fgl.plugins.datasets.splits import TEST, TRAIN
from fgl.text import counted, escaped, some

PUBLIC = "public"
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a dataset."""

    files: dict[str, list[Path]]
    """Split → its files, in order."""

    folder: Path
    """The folder that holds them."""

    notes: tuple[str, ...]
    """What is missing or was left out."""


def find(path: Path, holds: str) -> Found:
    """The files of each split: `path` itself if it is a file; otherwise those in the folder, in data/ below it (as on
    the Hub), or in the only folder below it that has any. A split is one file, `train-*.parquet`, or train/.

    Raises DataError if there is no training split, or more than one set of files.
    """
    if path.is_file():
        return Found({"train": [path]}, path.parent, _alone(path))
    places = [place for place in (path, path / "data") if _usable(place)]
    if not places:
        places = [child for child in sorted(path.iterdir()) if child.is_dir() and _usable(child)]
    if len(places) > 1 and places[0] != path:
        raise DataError(
            f"'{path}' holds several datasets, in {some([repr(one.name) for one in places], 8)}; give one of these "
            "folders as path"
        )
    folder = places[0] if places else path
    groups = _groups(folder)
    train = next((name for name in TRAIN if name in groups), None)
    test = next((name for name in TEST if name in groups), None)
    chosen = {"train": train, "test": test, PUBLIC: PUBLIC if PUBLIC in groups else None}
    files = {split: groups[name] for split, name in chosen.items() if name is not None}
    if train is None and not (holds == "test" and test is not None):
        names = sorted(child.name for child in path.iterdir())
        held = f"it holds: {some([escaped(name) for name in names], 8)}" if names else "it is empty"
        raise DataError(f"'{path}' has no train.parquet and no train-*.parquet; {held}")
    return Found(files, folder, tuple(_notes(groups, list(files.values()))))


def _usable(folder: Path) -> bool:
    return any(name in (*TRAIN, *TEST) for name in _groups(folder))


def _groups(folder: Path) -> dict[str, list[Path]]:
    """Name of a split, or of any other group → its files. A single file is preferred to shards."""
    if not folder.is_dir():
        return {}
    whole: dict[str, list[Path]] = {}
    parts: dict[str, list[Path]] = {}
    below: dict[str, list[Path]] = {}
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            continue
        if child.suffix == ".parquet" and not child.is_dir():
            name, dash, _ = child.stem.partition("-")
            (parts if dash else whole).setdefault(name.lower(), []).append(child)
        elif child.name.lower() in (*TRAIN, *TEST, PUBLIC) and child.is_dir():
            inside = sorted(one for one in child.glob("*.parquet") if not one.name.startswith("."))
            if inside:
                below[child.name.lower()] = inside
    return {**below, **parts, **whole}


def _notes(groups: dict[str, list[Path]], used: Sequence[list[Path]]) -> list[str]:
    notes = [note for files in used for note in _missing(files)]
    left = {name: files for name, files in groups.items() if files not in used}
    if left:
        described = [f"{escaped(name)} ({counted(len(files), 'file')})" for name, files in sorted(left.items())]
        notes.append(f"left out beside the splits: {some(described, 8)}")
    return notes


def _missing(files: Sequence[Path]) -> list[str]:
    """Notes on missing shards. Raises DataError if the same data is present in two sets of shards: images would count
    twice."""
    shards: dict[str, list[tuple[int, int]]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.stem)
        if match:
            shards.setdefault(match[1], []).append((int(match[2]), int(match[3])))
    notes = []
    for name, shard_numbers in shards.items():
        totals = sorted({total for _, total in shard_numbers})
        if len(totals) > 1:
            raise DataError(
                f"'{files[0].parent}' mixes {name} in {' and in '.join(map(str, totals))} shards: remove those of one "
                "of them"
            )
        present = {number for number, _ in shard_numbers}
        lacking = [
            f"{name}-{number:05}-of-{totals[0]:05}.parquet" for number in range(totals[0]) if number not in present
        ]
        if lacking:
            notes.append(
                f"{name} is incomplete: {len(present)} of {totals[0]} shards are present; missing {some(lacking)}; "
                "download the rest"
            )
    return notes


def _alone(path: Path) -> tuple[str, ...]:
    match = _SHARD.fullmatch(path.stem)
    if match is None or int(match[3]) == 1:
        return ()
    return (f"one shard of {int(match[3])} is read, {escaped(path.name)}; to read all, give the folder as path",)
