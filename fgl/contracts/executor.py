"""Executors: what has the shards of a synthetic set filled, in this process or in others.

A shard is the unit of work and of commit. A `ShardJob` says what there is to fill; it can be pickled, and whoever
receives it, in any process that sees the same files, fills shards of it by number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ShardJob:
    """Shards to fill, as a value that can be pickled and sent to another process.

    It is pickled when it crosses, not before: an executor that stays in this process pays nothing for that. Pickled, it
    grows with the number of images (some 300 bytes each) and not with the uploads, which the receiver reads from the
    run directory. Raises BrokenPluginError when it is pickled and something in it cannot be, such as the rows of an
    aggregator that hold an open file."""

    task: str
    """The name of the function that fills them, "module:function". See `fill_shards`."""

    order: object
    """What the function needs to know. Executors pass it on and do not look into it."""

    shards: tuple[int, ...]
    """Numbers of the shards that are missing, in order."""

    images: tuple[int, ...]
    """For each of them how many images have to be made: what a shard costs."""

    device: str
    """The device to fill them on, as `Executor.device` named it. `dataclasses.replace(job, device="cuda:1")` is the
    same job on another one of the same kind."""

    run: str
    """The run directory, as an absolute path. Every process that fills shards reads and writes there."""


def fill_shard(job: ShardJob, index: int, advance: Callable[[int], None] | None = None) -> None:
    """Fill one shard of a job, and return when it is committed.

    The first call in a process loads the generator's model, which later calls with the same job object use again. A
    shard that is filled a second time is written a second time, with the same content.

    Args:
        job: The job.
        index: The number of the shard.
        advance: Called with the number of images that were made since the last call. Default: nobody is told.

    Raises FGLError, and whatever a library raises.
    """
    fill_shards(job, (index,), advance=advance)


def fill_shards(
    job: ShardJob,
    indexes: Iterable[int],
    committed: Callable[[int], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Fill shards one after another, and return when all are committed.

    As `fill_shard` for each, but a shard is encoded and written beside the synthesis of the next one. Each number is
    taken from `indexes` when its shard is begun, so an iterator may ask somebody else what comes next.

    Args:
        job: The job.
        indexes: Numbers of the shards.
        committed: Called with the number of each shard when it is committed, in another thread.
        advance: Called with the number of images that were made since the last call.

    Raises FGLError, and whatever a library raises. Shards that were reported as committed stay.
    """
    module, _, name = job.task.partition(":")
    task: Any = getattr(import_module(module), name)
    task(job.order, job.device, indexes, committed or _unheard, advance or _unheard)


def _unheard(count: int) -> None:
    pass


class Executor(Protocol):
    """Has shards filled: where, by how many processes and in which order is its own affair."""

    def device(self, asked: str) -> str:
        """The device that `asked` means on this machine ("auto": the best available). Raises ModelError if it is not
        available."""

    def environment(self) -> Mapping[str, object]:
        """Threads and hardware: what figures depend on besides the configuration. fgl adds the versions of Python
        and its libraries; an executor whose shards are filled elsewhere states those that apply there."""

    def run(self, job: ShardJob, advance: Callable[[int], None]) -> None:
        """Have every shard of `job.shards` filled once, in any order and by any process, and return when all are
        committed.

        A process that fills shards calls `fgl.fill_shard(job, index)` or `fgl.fill_shards(job, indexes)`. One that dies
        costs the shards that it had not committed: have them filled by another. What filling raises is raised here.

        Args:
            job: The shards.
            advance: Call it with the number of images made since the last call, in any thread of this process.
        """


@runtime_checkable
class SupportsUsage(Protocol):
    """An executor that can say what filling shards took. Optional."""

    def usage(self) -> Mapping[str, object]:
        """JSON for the report: what the last `run` used, such as the peak memory of each process. {}: nothing to
        say."""
