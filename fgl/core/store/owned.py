"""A folder of fgl's: what it writes there, whole or not at all, and what it removes again, which is nothing else."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fgl.core.store import lock
from fgl.core.store.ledger import NAME as LEDGER
from fgl.core.store.ledger import Ledger
from fgl.errors import StoreError
from fgl.io import files, strict_json

_SEAL = "seal"
_KEPT = ("prompts.jsonl", "summary.json", "captions.jsonl", "error.txt")
"""What a client keeps in a folder called private."""

_OWN = (
    lock.NAME, LEDGER, "config.yaml", "environment.json", "partition.json", "metrics.jsonl", "report.json", "report.md",
    "stages", "checkpoints", "adaptation", "clients", "server", "train", "classifier", "baselines", "quality", "audit",
    "sheets", "rounds", "trackers", "forgotten.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnedFolder:
    """Atomic writes, sealed files, the lock, and removal by the ledger.

    kind: what it is, for its ledger. private: whether all of it is for its owner alone; below a folder that is called
    private, everything is. parent: the folder of fgl's that it lies in."""

    root: Path
    kind: str = "run"
    private: bool = False
    parent: OwnedFolder | None = field(default=None, compare=False, repr=False)
    ledger: Ledger = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ledger", Ledger(self.root, self.private))

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @contextmanager
    def lock(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the directory for this process, and remove what a killed one left half-written. wait: seconds.

        Raises StoreError that says who holds it, or why the directory cannot be written."""
        for path in (*self._way(), *(self.root / name for name in _OWN)):  # hours of work are not to end at a link
            files.refuse_link(path)
        with lock.hold(self.root, wait):
            self.note(self.path(lock.NAME), self.path("metrics.jsonl"))
            self._tidy()
            yield

    def _way(self) -> list[Path]:
        """From the folder of fgl's that this one lies in."""
        if self.parent is None:
            return []
        inside = [path for path in (self.root, *self.root.parents) if path.is_relative_to(self.parent.root)]
        return [path for path in inside if path != self.parent.root]

    def nested(self, *parts: str, kind: str = "run") -> Self:
        """A folder in this one with a ledger of its own."""
        return type(self)(self.path(*parts), kind, parent=self)

    def claim(self, *parts: str) -> Path:
        """A folder in which others write for fgl, with a ledger of their own. Raises StoreError where a link is in the
        way."""
        files.make_folders(self.root, self.path(*parts).parent, self.private)
        files.refuse_link(self.path(*parts))
        self.note()
        self.ledger.note(["".join(f"{part}/" for part in parts)])
        return self.path(*parts)

    def nested_below(self, *parts: str) -> list[Self]:
        """Those that are there."""
        prefix = "".join(f"{part}/" for part in parts)
        names = [name for name in self.ledger.names() if name.startswith(prefix) and name.endswith("/")]
        return [type(self)(self.root / name, private=name.endswith("private/"), parent=self) for name in names]

    def write(self, path: Path, data: bytes) -> None:
        """See `files.write`. Raises StoreError, also where the lock is lost or a link is in the way."""
        lock.check(self.root)
        files.make_folders(self.root, path.parent, self.private)
        files.refuse_link(path)
        self.note(path)
        files.write(path, data, self.private or "private" in path.relative_to(self.root).parts)

    def note(self, *paths: Path) -> None:
        """Files that fgl is about to write by other ways than `write`: only what is noted is ever removed."""
        if not self.ledger.kind:
            if self.parent is not None:
                files.refuse_links(self.parent.root, self.root)
                self.parent.note()
                self.parent.ledger.note([f"{self.parent.name_of(self.root)}/"])
            self.ledger.begin(self.kind)
            self.ledger.note(self._recorded())
        self.ledger.note(map(self.name_of, paths))

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def owned(self, *parts: str) -> list[Path]:
        """Files below a folder that fgl wrote."""
        prefix = "".join(f"{part}/" for part in parts)
        return [
            self.root / name
            for name in self.ledger.names()
            if name.startswith(prefix) and not name.endswith(("/", "/*"))
        ]

    def remove(self, *paths: Path) -> None:
        """Remove files, those that fgl wrote. Raises StoreError."""
        self._remove(name for name in map(self.name_of, paths) if name in self.ledger)

    def remove_named(self, *paths: Path) -> None:
        """Remove files under names that only fgl gives, also where its ledger was lost. Raises StoreError."""
        there = [path for path in paths if os.path.lexists(path)]
        self.note(*there)
        self.remove(*there)

    def remove_below(self, folder: Path) -> None:
        """Remove all that fgl wrote below a folder, and the folder where nothing else is in it. Raises StoreError."""
        prefix = f"{self.name_of(folder)}/"
        self._remove(name for name in self.ledger.names() if name.startswith(prefix))

    def remove_all(self, *but: Path) -> None:
        """Remove all that fgl wrote here. but: what is kept, files or whole folders; the lock is kept with them."""
        if self.ledger.guests is not None:
            self._note_guests(self.ledger.guests)
        kept = [self.name_of(path) for path in (*but, self.path(lock.NAME), self.path(LEDGER))]
        inside = tuple(f"{name}/" for name in kept)
        self._remove(name for name in self.ledger.names() if name not in kept and not name.startswith(inside))

    def remove_self(self) -> None:
        """Remove all that fgl wrote here, its ledger at last."""
        if not self.root.is_dir():
            return
        self.note()
        self.remove_all()
        try:
            for name in (lock.NAME, LEDGER):
                self.path(name).unlink(missing_ok=True)
            with suppress(OSError):  # what is left is not fgl's
                self.root.rmdir()
        except OSError as error:
            raise StoreError(f"cannot remove {self.root}: {error.strerror or error}") from error

    def remove_nested(self, *folders: Self) -> None:
        """Remove all that fgl wrote in folders with ledgers of their own."""
        self._remove(f"{self.name_of(folder.root)}/" for folder in folders)

    def _remove(self, names: Iterable[str]) -> None:
        names, folders = list(names), set()
        lock.check(self.root)
        for name in names:
            path = self.root / name.removesuffix("*")
            files.refuse_links(self.root, path)
            try:
                if name.endswith("/*"):
                    shutil.rmtree(path, ignore_errors=True)
                elif name.endswith("/"):
                    type(self)(path).remove_self()
                else:
                    with suppress(IsADirectoryError):  # somebody else's, by the name of a file of fgl's
                        path.unlink(missing_ok=True)
                    files.part_of(path).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"cannot remove {path}: {error.strerror or error}{files.advice(error)}") from error
            folders.add(path.parent)
        self.ledger.gone(names)
        for folder in folders:
            with suppress(OSError):
                while folder != self.root:
                    folder.rmdir()
                    folder = folder.parent

    def _tidy(self) -> None:
        """Remove what a killed process left half-written: it is no longer anybody's, and may hold a client's rows."""
        names = [*self.ledger.names(), LEDGER]
        for folder in {(self.root / name).parent for name in names}:
            files.refuse_links(self.root, folder)
        for name in names:
            if name.endswith("/") and (self.root / name).is_dir():
                type(self)(self.root / name)._tidy()
            elif not name.endswith(("/", "/*")):
                try:
                    files.part_of(self.root / name).unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(f"cannot write to {self.root}: {error.strerror or error}") from error
        if scratch := [name for name in names if name.endswith("/*")]:
            self._remove(scratch)

    def _recorded(self) -> list[str]:
        """Where the ledger was lost: what is fgl's for sure."""
        return [name for name in _KEPT if self.root.name == "private" and self.path(name).exists()]

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder that is removed in the end, whoever writes into it."""
        files.make_folders(self.root, self.root, self.private)
        folder = self.path(f".scratch-{secrets.token_hex(8)}")
        self.note()
        self.ledger.note([f"{folder.name}/*"])
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot write {folder}: {error.strerror or error}{files.advice(error)}") from error
        try:
            yield folder
        finally:
            self._remove([f"{folder.name}/*"])

    def write_folder(self, folder: Path, save: Callable[[Path], None]) -> list[Path]:
        """Have `save` write files into an empty folder, and move them into `folder`, where they take the place of what
        an earlier call wrote. Returns their paths. Raises StoreError, and OSError where `save` does."""
        with self.scratch() as part:
            save(part)
            made = sorted(path for path in part.rglob("*") if path.is_file())
            found = [folder / path.relative_to(part) for path in made]
            self.note(*found)
            for path, place in zip(made, found, strict=True):
                files.make_folders(self.root, place.parent, self.private)
                files.refuse_link(place)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(path, place)
            files.sync(folder)
        prefix = f"{self.name_of(folder)}/"
        self.remove(*(path for path in self.owned() if self.name_of(path).startswith(prefix) and path not in found))
        return found

    @contextmanager
    def host(self) -> Iterator[None]:
        """Whatever is written here meanwhile is fgl's, also where the process is killed in between."""
        files.make_folders(self.root, self.root, self.private)
        self.note()
        if self.ledger.guests is None:
            self.ledger.let(self._strangers())
        try:
            yield
        finally:
            self._note_guests(self.ledger.guests or [])

    def _note_guests(self, guests: Sequence[str]) -> None:
        self.ledger.note_all(name for name in self._strangers() if name not in guests)

    def _strangers(self) -> list[str]:
        """Files that are not fgl's."""
        there = (path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted({self.name_of(path) for path in there} - {*self.ledger.names(), LEDGER, lock.NAME})

    def write_json(self, path: Path, value: Any) -> None:
        self.write(path, _text_of(path, value))

    @staticmethod
    def read_json(path: Path) -> Any:
        """Raises OSError, and ValueError for what is no JSON."""
        return strict_json.loads(files.read_text(path))

    def write_sealed(self, path: Path, value: Mapping[str, object]) -> None:
        """JSON with a digest of itself, so that a flipped bit in a number cannot pass for the number."""
        self.write_json(path, {**value, _SEAL: digest_of(dict(value))})

    @staticmethod
    def read_sealed(path: Path) -> dict[str, Any] | None:
        """None where the file is not there, or is not what was written."""
        try:
            value = OwnedFolder.read_json(path)
            seal = value.pop(_SEAL)
            return dict(value) if seal == digest_of(value) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def file_digest(path: Path) -> str:
    """Raises StoreError where the file cannot be read."""
    try:
        with files.open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(strict_json.canonical(value)).hexdigest()


def _text_of(path: Path, value: Any) -> bytes:
    try:
        return (strict_json.dumps(value, indent=2) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise StoreError(f"cannot write {path}: {error}; what it was computed from is kept") from error
