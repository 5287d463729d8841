"""A process that fills shards for `processes`: what it is told, and what it says.

It is started by `python -c`, and so imports nothing of the program that started it. A connection carries the job and
the device first. Then come numbers of shards, or None where there is none at the moment. It answers with tuples:
("next",) asks for a number, ("images", n) and ("committed", number) report, ("idle", ...) says that all it had is
committed, with its peak memory, ("error", ...) that it has failed.
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from fgl.contracts.executor import ShardJob, fill_shards
from fgl.errors import FGLError
from fgl.text import kind_and_line

SCRIPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from fgl.plugins.executors.worker import main
main(int(sys.argv[1]))
"""
STOP = "stop"


def main(handle: int) -> None:
    """Fill what comes through the connection until it says stop, or is closed."""
    os.dup2(2, 1)  # what a library prints is no result of the run's
    worker = _Worker(Connection(handle))
    try:
        worker.work()
    except BaseException as error:
        worker.send("error", *packed(error))


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._sending = threading.Lock()  # commits are reported by another thread
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Once the parent is dead, nobody holds the run directory's lock, and nothing more may be written there."""
        try:
            while True:
                self._inbox.put(self._connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)

    def send(self, *message: object) -> None:
        with self._sending:
            self._connection.send(message)

    def work(self) -> None:
        job: ShardJob = pickle.loads(self._inbox.get())
        job = replace(job, device=pickle.loads(self._inbox.get()))
        if job.device.startswith("cuda:"):  # libraries that ask for "the" GPU are to get this one
            importlib.import_module("torch").cuda.set_device(job.device)
        while (first := pickle.loads(self._inbox.get())) != STOP:
            indexes = chain((first,), self._more())
            fill_shards(
                job,
                indexes,
                committed=lambda index: self.send("committed", index),
                advance=lambda count: self.send("images", count),
            )
            self.send("idle", peak_memory(), _gpu_memory(job.device))

    def _more(self) -> Iterator[int]:
        while True:
            self.send("next")
            index = pickle.loads(self._inbox.get())
            if index is None:
                return
            yield index


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    # getrusage counts what a process had before exec, which is what its parent had
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _gpu_memory(device: str) -> int:
    """The most memory of the GPU that torch has held, in bytes; 0 on a CPU."""
    torch: Any = sys.modules.get("torch")
    return int(torch.cuda.max_memory_reserved(device)) if torch is not None and device.startswith("cuda") else 0


def packed(error: BaseException) -> tuple[bytes, str]:
    """An error that can cross, pickled, and where it was raised. One that cannot crosses as the nearest class of
    fgl's, or as a RuntimeError that names it."""
    trace = "".join(traceback.format_exception(error))
    candidates = [error]
    for kind in type(error).__mro__:
        if issubclass(kind, FGLError):
            plain = kind.__new__(kind)
            plain.args = (str(error),)
            candidates.append(plain)
    for candidate in candidates:
        try:
            data = pickle.dumps(candidate)
            if str(pickle.loads(data)) == str(error):
                return data, trace
        except Exception:
            continue
    return pickle.dumps(RuntimeError(kind_and_line(error, 300))), trace
