"""The lock of a folder: FOLDER/.lock, which the kernel drops when its holder dies, so none goes stale."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fgl.errors import StoreError
from fgl.io import files, strict_json

NAME = ".lock"
_AGAIN = 0.1  # seconds between two tries
_held: list[tuple[Path, BinaryIO]] = []


@contextmanager
def hold(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process. wait: seconds to wait for another one to end.

    Raises StoreError that says who holds it, that it cannot be locked, or, at the end, that the lock was removed."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _taken(path, time.monotonic() + wait)
    except OSError as error:
        if error.errno == errno.ELOOP:
            files.refuse_link(path)
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}; choose another folder") from error
    with file:
        _held.append((_absolute(folder), file))
        try:
            _sign(folder, file)
            yield
            check(folder)
        finally:
            _held.remove((_absolute(folder), file))


@contextmanager
def share(folder: Path) -> Iterator[None]:
    """Use a folder beside other processes that share it; nobody can hold it meanwhile. Nothing in it is tidied: what
    others are writing is theirs. Raises StoreError as `hold`, without waiting."""
    path = folder / NAME
    try:
        file = _taken(path, time.monotonic(), fcntl.LOCK_SH)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        _held.append((_absolute(folder), file))
        try:
            _sign(folder, file)
            yield
            check(folder)
        finally:
            _held.remove((_absolute(folder), file))


def check(folder: Path) -> None:
    """Before something is written or removed. Raises StoreError where this process holds `folder`, or one above it, by
    a lock file that is no longer there: then another process may have begun."""
    place = _absolute(folder)
    for held, file in _held:
        if place.is_relative_to(held) and not _is_that(held / NAME, file):
            raise StoreError(
                f"{held / NAME} was removed or replaced while this process was at work, so another one may have begun "
                f"in {held}: stopped before writing anything more; when no other is at work, run the same command again"
            )


def _sign(folder: Path, file: BinaryIO) -> None:
    """Say who is here, for whoever finds the folder in use. Of those that share it, the last one is named."""
    try:
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.write(strict_json.dumps(holder).encode())
        file.flush()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error


def _taken(path: Path, deadline: float, kind: int = fcntl.LOCK_EX) -> BinaryIO:
    while True:
        file = files.open_append(path)
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            if _is_that(path, file):  # and not removed before it was locked
                return file
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                file.close()
                raise StoreError(
                    f"cannot lock {path.parent}: {error.strerror}; choose an --out on a file system that has locks"
                ) from error
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = _holder(file.read())
                file.close()
                raise StoreError(f"{path.parent} is in use by {holder}") from None
            time.sleep(_AGAIN)
        file.close()


def _is_that(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _holder(data: bytes) -> str:
    try:
        holder = strict_json.loads(data)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))  # ".." by name: the same for all that lies below
