"""Tasks that the contract of executors has them run: "fgl.testing.shards:write". An order is a folder, as text.

Imported by every process that an executor starts, so it imports little.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from fgl.errors import ModelError

FAILS = 2
"""The shard at which `fail` fails."""

_Told = Callable[[int], None]


def write(order: str, device: str, indexes: Iterable[int], committed: _Told, advance: _Told) -> None:
    """For each shard a file with the device; one that is there already is an error."""
    for index in indexes:
        _commit(order, device, index)
        committed(index)
        advance(_images(index))


def write_late(order: str, device: str, indexes: Iterable[int], committed: _Told, advance: _Told) -> None:
    """As `write`, but a shard is committed while the next one is filled, as fgl does."""
    before: threading.Thread | None = None

    def commit(index: int) -> None:
        threading.Event().wait(0.05)
        _commit(order, device, index)
        committed(index)

    for index in indexes:
        advance(_images(index))
        if before is not None:
            before.join()
        before = threading.Thread(target=commit, args=(index,))
        before.start()
    if before is not None:
        before.join()


def fail(order: str, device: str, indexes: Iterable[int], committed: _Told, advance: _Told) -> None:
    """Fails at one shard."""
    for index in indexes:
        if index == FAILS:
            raise ModelError(f"out of memory at shard {index}")
        committed(index)


def die_once(order: str, device: str, indexes: Iterable[int], committed: _Told, advance: _Told) -> None:
    """As `write`, but the process that first comes to one of the shards dies there."""
    for index in indexes:
        mark = Path(order) / "died"
        if index == FAILS and not mark.exists():
            mark.touch()
            os._exit(3)
        write(order, device, (index,), committed, advance)


def die(order: str, device: str, indexes: Iterable[int], committed: _Told, advance: _Told) -> None:
    """As `write`, but whoever comes to one of the shards is killed."""
    for index in indexes:
        if index == FAILS:
            os.kill(os.getpid(), 9)
        write(order, device, (index,), committed, advance)


def _commit(order: str, device: str, index: int) -> None:
    with (Path(order) / str(index)).open("x") as file:
        file.write(device)


def _images(index: int) -> int:
    return 1 + index % 3
