"""Runs shards in processes of this machine, one a device: each loads the model once and takes shards as it can.

What such a process is told and says stands in `worker.py`. A process that dies is replaced, and what it had not
committed is filled again; a shard at which processes die again and again ends the run.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from fgl.contracts.executor import ShardJob
from fgl.errors import ModelError
from fgl.io import strict_json
from fgl.plugins.executors.local import LocalExecutor
from fgl.plugins.executors.options import ProcessesOptions
from fgl.plugins.executors.worker import SCRIPT, STOP

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Deaths of processes at one shard after which the run ends."""
_PATIENCE = 5.0  # seconds for a process to end before it is killed


class ProcessesExecutor:
    """Runs shards in several processes (contract `Executor`)."""

    def __init__(self, options: ProcessesOptions) -> None:
        self.options = options
        self._asked = "auto"
        self._usage: list[dict[str, object]] = []

    def device(self, asked: str) -> str:
        """The first device. Raises ModelError where one of them is not there, or is of another kind than asked for."""
        devices = self._devices(asked)
        self._asked = asked
        for device in devices:
            try:
                LocalExecutor().device(device)
            except ModelError as error:
                raise ModelError(f"executor.devices: {error}") from None
        return devices[0]

    def environment(self) -> Mapping[str, object]:
        devices = self._devices(self._asked)
        workers = {"devices": list(devices), "threads": self._threads(len(devices))}
        return {**LocalExecutor().environment(), "workers": workers}

    def usage(self) -> Mapping[str, object]:
        return {"workers": self._usage} if self._usage else {}

    def run(self, job: ShardJob, advance: Callable[[int], None]) -> None:
        self._usage = []
        if not job.shards:
            return
        devices = self._devices(self._asked)[: len(job.shards)]
        threads = self._threads(len(devices))
        log.info("%d processes of %d threads on %s", len(devices), threads, ", ".join(devices))
        crew = _Crew(job, devices, threads, advance)
        try:
            self._usage = crew.work()
        finally:
            crew.end()

    def _devices(self, asked: str) -> list[str]:
        """One for each process."""
        chosen = self.options.devices
        if chosen == "auto":
            found = LocalExecutor().device(asked)
            several = found == "cuda" and torch.cuda.device_count() > 1
            return [f"cuda:{index}" for index in range(torch.cuda.device_count())] if several else [found]
        if isinstance(chosen, str) and chosen.startswith("cpu:"):
            devices = ["cpu"] * int(chosen.partition(":")[2])
        else:
            devices = [chosen] if isinstance(chosen, str) else list(chosen)
        kind = devices[0].partition(":")[0]
        if asked.partition(":")[0] not in ("auto", kind):
            # a name that means nothing here is an error whatever the processes run on
            LocalExecutor().device(asked)
            raise ModelError(f"device is {asked!r}, and executor.devices are {', '.join(devices)}: ask for one kind")
        return devices

    def _threads(self, workers: int) -> int:
        """Of each process."""
        return self.options.threads or max(1, torch.get_num_threads() // workers)


@dataclass(slots=True, eq=False)
class _Worker:
    """A process that fills shards. held: numbers that it was given and has not committed, in order."""

    device: str
    process: subprocess.Popen[bytes]
    connection: Connection
    held: list[int] = field(default_factory=list)
    images: int = 0
    """Images that it reported beyond those of the shards that it committed."""
    is_idle: bool = False
    """Whether it waits for a shard, with nothing left to commit."""
    peak: dict[str, object] = field(default_factory=dict)

    def send(self, data: bytes) -> None:
        with suppress(OSError):  # it is dead, which is noticed when it is listened to
            self.connection.send_bytes(data)


class _Crew:
    """The processes of one run."""

    def __init__(self, job: ShardJob, devices: Sequence[str], threads: int, advance: Callable[[int], None]) -> None:
        self._devices, self._threads, self._advance = devices, threads, advance
        self._job = pickle.dumps(job)
        self._queue = deque(job.shards)
        self._images = dict(zip(job.shards, job.images, strict=True))
        self._left = set(job.shards)
        self._deaths: Counter[int] = Counter()
        self._overcounted = 0
        self._workers: list[_Worker] = []

    def work(self) -> list[dict[str, object]]:
        """Until all is committed. Returns what each process took: its device, threads and peak memory in bytes."""
        for device in self._devices:
            self._start(device)
        while self._left:
            self._listen(None)
        while any(not worker.is_idle for worker in self._workers) and self._listen(_PATIENCE):
            pass
        return [worker.peak for worker in self._workers if worker.peak]

    def end(self) -> None:
        """No process is left, whatever happened."""
        for worker in self._workers:
            if worker.is_idle:
                worker.send(pickle.dumps(STOP))
            else:
                worker.process.terminate()
            worker.connection.close()
        for worker in self._workers:
            try:
                worker.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _listen(self, patience: float | None) -> bool:
        """Hear who has something to say. patience: seconds, None without end. Returns whether anybody had."""
        heard = {worker.connection: worker for worker in self._workers}
        ready = wait(list(heard), patience)
        for connection in ready:
            self._hear(heard[connection])  # type: ignore[index]
        return bool(ready)

    def _start(self, device: str) -> None:
        """A process, with its first shard."""
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(theirs.fileno()), strict_json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
                # Ctrl-C is for this process, which ends the others
                start_new_session=True,
            )
        worker = _Worker(device, process, ours)
        self._workers.append(worker)
        worker.send(self._job)
        worker.send(pickle.dumps(device))
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        """Its next shard, or None."""
        index = self._queue.popleft() if self._queue else None
        if index is not None:
            worker.held.append(index)
            worker.is_idle = False
        worker.send(pickle.dumps(index))

    def _hear(self, worker: _Worker) -> None:
        try:
            message: Any = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        match message:
            case ("next",):
                self._give(worker)
            case ("images", int(count)):
                worker.images += count
                known = min(count, self._overcounted)  # made before, by one that died
                self._overcounted -= known
                if count > known:
                    self._advance(count - known)
            case ("committed", int(index)):
                worker.held.remove(index)
                worker.images -= self._images[index]
                self._left.discard(index)
            case ("idle", int(memory), int(gpu)):
                worker.is_idle = True
                worker.peak = {
                    "device": worker.device,
                    "threads": self._threads,
                    "peak_memory_bytes": memory,
                    **({"peak_gpu_memory_bytes": gpu} if gpu else {}),
                }
                if self._queue:
                    self._give(worker)
            case ("error", bytes(packed), str(trace)):
                error: BaseException = pickle.loads(packed)
                error.add_note(f"in a process on {worker.device}:\n{trace}")
                raise error

    def _replace(self, worker: _Worker) -> None:
        """Queue what a dead process had not committed, and start another one where there is anything to do."""
        self._workers.remove(worker)
        worker.connection.close()
        cause = _cause(worker.process)
        if worker.held:
            blamed = worker.held[-1]
            self._deaths[blamed] += 1
            if self._deaths[blamed] >= MOST_DEATHS:
                raise ModelError(
                    f"shard {blamed} ended {MOST_DEATHS} processes, one after another: the last, on {worker.device}, "
                    f"{cause}. What is committed stays; run again to go on from there"
                )
            log.warning("a process on %s %s at shard %d: it is replaced", worker.device, cause, blamed)
        self._queue.extendleft(reversed(worker.held))
        self._overcounted += max(0, worker.images)
        if self._queue:
            self._start(worker.device)
        for other in self._workers:
            if other.is_idle and self._queue:
                self._give(other)


def _cause(process: subprocess.Popen[bytes]) -> str:
    """How a process has ended, in words."""
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return "closed its connection and did not end"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in [one.value for one in signal.Signals] else "unknown"
    hint = ", as the system does where memory runs out" if -code == signal.SIGKILL else ""
    return f"was ended by signal {-code} ({name}{hint})"
