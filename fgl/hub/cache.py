"""The Hub client's cache as fgl uses it: what a commit holds, which commit a model is locked to, what was checked.

Beside what the client keeps of a repository (`blobs/`, `snapshots/`, `refs/`), fgl keeps
    refs/fgl-locked/HEAD          the commit that the default branch is locked to; a named branch or tag under its name
    .fgl/<commit>.json            names, sizes and digests of all files of the commit, as the Hub listed them
    .fgl/<commit>.checked.json    path → [bytes, modification time] of files whose content matched the listing
    .fgl/mirror-of.json           models that this repository stood in for because the Hub did not have them
    blobs/<etag>.fgl.incomplete   an unfinished download, see remote.py; `hf cache prune` removes it
To the client, fgl's locks are references: removing a revision removes its lock, and pruning keeps it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.errors import ModelError
from fgl.io import strict_json

if TYPE_CHECKING:
    from hashlib import _Hash


_LOCKS = "fgl-locked"
_BLOCK = 1 << 20
# A file system accepts names of 255 bytes; the client and fgl append to the names of blobs.
_LONGEST_PART, _LONGEST_PATH, _LONGEST_BLOB = 255, 1000, 200
_SHOWN = 80  # characters of a server's text in a message
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# What a terminal obeys instead of showing: control characters, line separators, changes of direction; and lone
# surrogates, which no file system can store.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a commit."""

    path: str
    """Path within the repository."""

    size: int
    """Size in bytes."""

    sha256: str = ""
    """Digest of an LFS file."""

    blob_id: str = ""
    """git's sha1 of any other file."""

    @property
    def digest(self) -> str:
        """The digest that the Hub states; "" if it states none."""
        return self.sha256 or self.blob_id

    def hash(self, size: int) -> _Hash:
        """The hash that yields the stated digest for a file of `size` bytes."""
        return hashlib.sha256() if self.sha256 else hashlib.sha1(b"blob %d\0" % size)

    def matches(self, path: Path, advance: Callable[[int], None]) -> bool:
        """Whether the content at `path` has the stated digest; True if the Hub states none. advance: called with the
        number of bytes read."""
        total = self.hash(path.stat().st_size)
        with path.open("rb") as content:
            while block := content.read(_BLOCK):
                total.update(block)
                advance(len(block))
        return not self.digest or total.hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a commit."""

    id: str
    """The Hub's present name of the repository."""

    commit: str
    """The commit, 40 hex digits."""

    files: tuple[File, ...]
    """Its files."""

    def select(self, patterns: Sequence[str]) -> list[File]:
        """Files that match a pattern, and none of the patterns that begin with "!". Small files first."""
        from huggingface_hub.utils import filter_repo_objects

        wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
        unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        matching = filter_repo_objects(
            self.files, allow_patterns=wanted, ignore_patterns=unwanted or None, key=lambda file: file.path
        )
        return sorted(matching, key=lambda file: (file.size, file.path))


@dataclass(frozen=True, slots=True)
class Repository:
    """A model's folder in the cache, which may not exist."""

    model: str
    folder: Path

    @classmethod
    def of(cls, model: str) -> Repository:
        return cls(model, cache() / f"models--{model.replace('/', '--')}")

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def commit(self, revision: str | None) -> str | None:
        """The commit that the revision is, or is locked to; None if unknown."""
        return revision if revision is not None and is_commit(revision) else self.locked(revision)

    def locked(self, revision: str | None) -> str | None:
        return _read_commit(self._lock(revision))

    def seen(self, revision: str | None) -> str | None:
        """The commit at which the client last saw a branch or tag; None: of main."""
        return _read_commit(self.folder / "refs" / (revision or "main"))

    def lock(self, revision: str | None, commit: str) -> None:
        """Lock a revision to a commit with a snapshot: to the client, a reference to any other commit is damage."""
        _write(self._lock(revision), commit)

    def _lock(self, revision: str | None) -> Path:
        # no branch can be called HEAD
        return self.folder / "refs" / _LOCKS / (revision or "HEAD")

    def listing(self, commit: str) -> Listing | None:
        """The listing recorded when the commit was first pulled; None if there is none, or if it is unreadable."""
        record = _read_json(self._record(commit, ""))
        try:
            files = tuple(File(**file) for file in record["files"])
            for file in files:
                check_path(file.path, self.model)
            return Listing(record["id"], commit, files)
        except (KeyError, TypeError, ModelError):
            return None

    def save(self, listing: Listing) -> None:
        files = [{key: value for key, value in asdict(file).items() if value != ""} for file in listing.files]
        _write(self._record(listing.commit, ""), strict_json.dumps({"id": listing.id, "files": files}, indent=0))

    def present(self, commit: str, file: File) -> bool:
        """Whether the file exists in its full length."""
        try:
            return (self.snapshot(commit) / file.path).stat().st_size == file.size
        except OSError:
            return False

    def checked(self, commit: str, file: File) -> bool:
        """Whether the file is unchanged since its content was last compared with the listing."""
        return self.present(commit, file) and self._marks(commit).get(file.path) == self._mark(commit, file)

    def pulled(self, commit: str) -> set[str]:
        """Paths of files that were once present and correct."""
        return set(self._marks(commit))

    def mark(self, commit: str, right: Sequence[File], wrong: Sequence[File] = ()) -> None:
        """Remember which files were right, and forget the wrong ones.

        Two processes at once may lose a mark; then a file is read once more.
        """
        marks = self._marks(commit) | {file.path: self._mark(commit, file) for file in right}
        for file in wrong:
            marks.pop(file.path, None)
        _write(self._record(commit, ".checked"), strict_json.dumps(marks, indent=0))

    def stands_in_for(self, model: str) -> bool:
        return bool(_read_json(self.folder / ".fgl" / "mirror-of.json").get(model))

    def stand_in_for(self, model: str) -> None:
        known = _read_json(self.folder / ".fgl" / "mirror-of.json")
        if not known.get(model):
            _write(self.folder / ".fgl" / "mirror-of.json", strict_json.dumps(known | {model: True}))

    def link(self, commit: str, file: File, blob: Path, *, new: bool) -> None:
        """Give a blob the name under which the client looks for it.

        Args:
            commit: The commit whose snapshot gets the name.
            file: The file.
            blob: Its content.
            new: Whether no snapshot can have the blob yet. Without support for links, a new blob is moved and any other
                copied, as the client does.
        """
        from huggingface_hub import constants

        path = self.snapshot(commit) / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if not getattr(constants, "HF_HUB_DISABLE_SYMLINKS", False):
            try:
                path.symlink_to(os.path.relpath(blob, path.parent))  # relative: a cache may be copied elsewhere
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        if new:
            blob.replace(path)
        else:
            shutil.copyfile(blob, path)

    def remove(self, commit: str, file: File) -> None:
        """Remove the file's link, what it points to, and so on. Does nothing if the link does not exist.

        The client may share a file between repositories, or copy it where links are not supported.
        """
        path = self.snapshot(commit) / file.path
        if not os.path.lexists(path):
            return
        while path.is_symlink():
            target = path.parent / os.readlink(path)
            path.unlink()
            path = target
        path.unlink(missing_ok=True)
        if file.digest:
            (self.folder / "blobs" / file.digest).unlink(missing_ok=True)

    def _mark(self, commit: str, file: File) -> list[int]:
        status = (self.snapshot(commit) / file.path).stat()
        return [status.st_size, status.st_mtime_ns]

    def _marks(self, commit: str) -> dict[str, Any]:
        return _read_json(self._record(commit, ".checked"))

    def _record(self, commit: str, kind: str) -> Path:
        return self.folder / ".fgl" / f"{commit}{kind}.json"

    def named(self, commit: str) -> Listing:
        """A listing of what the snapshot holds, derived from the names of the blobs, which are the digests that the
        server stated."""
        home = self.snapshot(commit)
        files = []
        for path in sorted(path for path in home.rglob("*") if path.is_file()):
            blob = Path(os.readlink(path)).name if path.is_symlink() else ""
            digests = {
                "sha256": blob if re.fullmatch("[0-9a-f]{64}", blob) else "",
                "blob_id": blob if re.fullmatch("[0-9a-f]{40}", blob) else "",
            }
            files.append(File(path.relative_to(home).as_posix(), path.stat().st_size, **digests))
        return Listing(self.model, commit, tuple(files))


def cache() -> Path:
    """Where the client keeps its models, set by HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_commit(revision: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def check_path(path: str, model: str) -> str:
    """Return the path of a file in a repository. Raises ModelError if it would leave the snapshot's folder, or is not
    safe for a file system or a terminal."""
    parts = path.split("/") if isinstance(path, str) else [""]
    if (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _LONGEST_PART for part in parts)
        or len(path) > _LONGEST_PATH
        or "\\" in path
        or CONTROL.search(path)
    ):
        raise ModelError(
            f"model: {model} lists a file called {shown(path)}, which no repository can hold; nothing is pulled"
        )
    return path


def shown(text: object) -> str:
    """A server's text in a form that can be printed: quoted, escaped and shortened."""
    whole = str(text)
    return ascii(whole) if len(whole) <= _SHOWN else f"{whole[:_SHOWN]!a}… ({len(whole)} characters)"


def is_blob_name(name: str) -> bool:
    """Whether a server's name for some content can be the name of a blob file."""
    return (
        0 < len(name) <= _LONGEST_BLOB
        and name.isascii()
        and name.isprintable()
        and not name.startswith(".")
        and not name.endswith(".incomplete")
        and not set(name) & set("/\\")
    )


def is_hub_id(model: str) -> bool:
    """Whether `model` has the form of a Hub repository's name."""
    return _HUB_ID.fullmatch(model) is not None


def _read_commit(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if is_commit(text) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = strict_json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, text: str) -> None:
    """Write atomically, through a temporary name of its own: several processes may write the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
