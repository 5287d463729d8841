"""Which files of a folder fgl wrote: FOLDER/.fgl-files, to which a name is appended before its file is begun.

fgl deletes what is named there and nothing else, so whatever a person puts into a run directory stays. A line is a
short digest and JSON: `{"kind": …, "format": …}` first, what the folder is and how its files are laid out (0.1 stated
no format); then `["+", name]`. A name is a path below the folder.
One that ends in "/" is a folder of fgl's with a ledger of its own; one that ends in "/*" is a folder that fgl made for
itself, whole, under a name that nobody else can have chosen. A line that is torn or damaged is as if it were not there:
then a file stays that could have gone, never the other way round.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from fgl.errors import StoreError
from fgl.io import files, strict_json

NAME = ".fgl-files"
FORMAT = 2
"""Of what lies in a folder of fgl's. Another one is not read: see `folder_kind.refuse_outdated`."""
_SCRATCH = re.compile(r"\.scratch-[0-9a-f]{16}/\*")


class Ledger:
    """The ledger of `folder`, read as far as it has grown. kind: what the folder is, "" where nothing says so."""

    def __init__(self, folder: Path, private: bool = False) -> None:
        self.path = folder / NAME
        self._private = private
        self._clear()

    def _clear(self) -> None:
        self._names: dict[str, None] = {}
        self._kind, self._format = "", 0
        self._read, self._inode = 0, 0
        self._guests: list[str] | None = None

    @property
    def kind(self) -> str:
        self._refresh()
        return self._kind

    @property
    def format(self) -> int:
        """How the files are laid out; 0 where nothing says so, as in 0.1."""
        self._refresh()
        return self._format

    @property
    def guests(self) -> list[str] | None:
        """Files that were not fgl's when it let something else write here, None where that has come to its end."""
        self._refresh()
        return self._guests

    def names(self) -> list[str]:
        """In the order in which they were first written."""
        self._refresh()
        return list(self._names)

    def __contains__(self, name: str) -> bool:
        self._refresh()
        return name in self._names

    def begin(self, kind: str) -> None:
        """Say what the folder is. Raises StoreError."""
        self._append([{"kind": kind, "format": FORMAT}])

    def note(self, names: Iterable[str]) -> None:
        """Before the files are begun. Raises StoreError."""
        self._refresh()
        self._append([["+", name] for name in names if name not in self._names])

    def gone(self, names: Iterable[str]) -> None:
        """After the files were removed. It is written anew, since a name may be a client's. Raises StoreError."""
        self._refresh()
        known = len(self._names)
        for name in names:
            self._names.pop(name, None)
        if len(self._names) < known:
            entries: list[Any] = [
                {"kind": self._kind, **({"format": self._format} if self._format else {})},
                *([{"guests": self._guests}] if self._guests is not None else []),
            ]
            entries += [["+", name] for name in self._names]
            files.write(self.path, b"".join(map(_line, entries)), self._private)
            self._refresh()

    def let(self, guests: list[str]) -> None:
        """Something else may write here until `note_all`. guests: files that are here already and not fgl's."""
        self._append([{"guests": guests}])

    def note_all(self, names: Iterable[str]) -> None:
        """What something else wrote here is fgl's. Raises StoreError."""
        self.note(names)
        self._append([{"guests": None}])

    def _append(self, entries: list[Any]) -> None:
        if not entries:
            return
        try:
            with files.open_append(self.path, self._private) as file:
                end = file.seek(0, os.SEEK_END)
                torn = b""
                if end:
                    file.seek(end - 1)
                    torn = b"" if file.read(1) == b"\n" else b"\n"
                file.write(torn + b"".join(map(_line, entries)))
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}{files.advice(error)}") from error
        self._refresh()

    def _refresh(self) -> None:
        try:
            if self.path.is_symlink():
                files.refuse_link(self.path)
            status = self.path.stat()
            if (status.st_ino, status.st_size) == (self._inode, self._read):
                return
            if status.st_ino != self._inode or status.st_size < self._read:
                self._clear()
                self._inode = status.st_ino
            with files.open_regular(self.path) as file:
                file.seek(self._read)
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            self._clear()
            return
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror or error}") from error
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.split(b"\n"):
            self._take(_entry(line))

    def _take(self, entry: Any) -> None:
        match entry:
            case {"kind": str(kind), "format": int(number)}:
                self._kind, self._format = kind, number
            case {"kind": str(kind)}:
                self._kind, self._format = kind, 0
            case {"guests": list(guests)}:
                self._guests = guests
            case {"guests": None}:
                self._guests = None
            case ["+", str(name)] if _below(name):
                self._names[name] = None


def _line(entry: Any) -> bytes:
    text = strict_json.ascii_dumps(entry).encode()
    return b"%s %s\n" % (_mark(text), text)


def _mark(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:12].encode()


def _entry(line: bytes) -> Any:
    mark, _, text = line.partition(b" ")
    try:
        return strict_json.loads(text) if mark == _mark(text) else None
    except (ValueError, RecursionError):
        return None


def _below(name: str) -> bool:
    """A ledger that came from elsewhere is not to name what lies outside."""
    parts = PurePosixPath(name).parts
    if name.endswith("/*") and not _SCRATCH.fullmatch(name):
        return False  # such a folder is removed with all that is in it
    return bool(parts) and "\0" not in name and not name.startswith("/") and ".." not in parts
