"""Reading and writing files safely: only regular files, atomically, and never through a link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from functools import lru_cache
from io import BufferedRandom, BufferedReader
from pathlib import Path

from fgl.errors import StoreError

_NOT_REGULAR = "it is a pipe or a device, not a regular file"


class NotRegularError(OSError):
    """A FIFO or a device instead of a regular file."""


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading. Raises OSError, also for a FIFO or a device, without waiting for its other end."""
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def _regular(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a regular file. mode: of a file that is created. Raises OSError as `open_regular`."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise NotRegularError(errno.EINVAL, _NOT_REGULAR, str(path))
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_bytes(path: Path) -> bytes:
    """Raises OSError as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Raises OSError as `open_regular`, UnicodeDecodeError."""
    return read_bytes(path).decode(encoding)


def digest(path: Path) -> str:
    """sha256 of a file's content, cached while the file is unchanged. Raises OSError as `open_regular`."""
    status = path.stat()
    return _digest(path.resolve(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, modified_ns: int, changed_ns: int) -> str:
    """`digest`, cached. Size and times are in the key, so that a changed file is read again."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_append(path: Path, private: bool = False) -> BufferedRandom:
    """Open a regular file for reading and appending, creating it if necessary. Raises OSError, also for a link."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(_regular(path, flags, 0o600 if private else 0o666), "a+b")


def part_of(path: Path) -> Path:
    """The temporary name that `write` uses."""
    return path.with_name(f".{path.name}.part")


def write(path: Path, data: bytes, private: bool = False) -> None:
    """Write to a temporary name beside the file, flush to disk, rename: a reader sees the old file or the new one.

    private: readable and writable only by the owner, whatever the umask. Raises StoreError, and leaves no half-written
    file behind.
    """
    part = part_of(path)
    try:
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600 if private else 0o666), "wb") as file:
            if private:
                os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StoreError(f"cannot write {path}: {error.strerror or error}{advice(error)}") from error


def make_folders(root: Path, folder: Path, private: bool = False) -> None:
    """Create `folder`, which is `root` or below it.

    private: make all of it accessible only to the owner; otherwise only what is called "private", and everything below.
    Raises StoreError, also if part of the path below `root` is a link.
    """
    place = root
    try:
        _make(root, private)
        for part in folder.relative_to(root).parts:
            place, private = place / part, private or part == "private"
            refuse_link(place)
            _make(place, private)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}{advice(error)}") from error


def _make(folder: Path, private: bool) -> None:
    folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    if private and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def refuse_links(root: Path, path: Path) -> None:
    """Raise StoreError if `path`, or a folder between it and `root`, is a link: its target does not belong to fgl."""
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        refuse_link(place)


def refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link: fgl neither writes nor deletes through one; remove it")


def refuse_special(path: Path) -> None:
    """Raise StoreError for a link, a pipe or a device, which nobody should write to in the belief that it is a file."""
    refuse_link(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StoreError(f"cannot write {path}: {_NOT_REGULAR}; remove it")


def advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space and run the same command again: what is committed is kept"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "; the folder must be writable"
    return ""


def sync(folder: Path) -> None:
    """Make a rename durable, where the file system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
