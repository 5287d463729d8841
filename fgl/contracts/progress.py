"""Progress reporting for long-running work."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Where long-running work reports its progress. The default, `NullProgress`, discards it."""

    def track(self, what: str, total: int, unit: str = "images") -> ProgressTask:
        """Start a task named `what` of `total` units, as a context manager."""


@runtime_checkable
class Announcing(Protocol):
    """A progress display that can also show headings. Optional."""

    def heading(self, text: str) -> None:
        """Show a heading above the tasks that follow."""


class ProgressTask(Protocol):
    """One task in progress: `with progress.track("synthesize", 2000) as task: task.advance(50)`."""

    def __enter__(self) -> ProgressTask: ...

    def __exit__(self, *error: object) -> None: ...

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report that `count` more units are done. note: shown beside the task, such as "loss 0.41"."""


class NullProgress:
    """Progress that is discarded."""

    def track(self, what: str, total: int, unit: str = "images") -> NullProgress:
        return self

    def heading(self, text: str) -> None:
        pass

    def __enter__(self) -> NullProgress:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, count: int = 1, note: str = "") -> None:
        pass
