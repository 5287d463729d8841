"""How long work says how far it is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Where long work reports to. The default swallows everything."""

    def track(self, what: str, total: int, unit: str = "images") -> ProgressTask: ...


@runtime_checkable
class Announcing(Protocol):
    """Progress that has a place for headings; optional."""

    def heading(self, text: str) -> None: ...


class ProgressTask(Protocol):
    """A context manager: `with progress.track("synthesize", 2000) as task: task.advance(50)`."""

    def __enter__(self) -> ProgressTask: ...

    def __exit__(self, *error: object) -> None: ...

    def advance(self, count: int = 1, note: str = "") -> None: ...


class NullProgress:
    """Progress that says nothing."""

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
