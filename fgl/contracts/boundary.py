"""The boundary around a client's work: who interrupted it, and whether the client is simulated.

Federation plugins, which transport messages, import this.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from fgl.contracts.progress import NullProgress, Progress

_T = TypeVar("_T")
_SIMULATED: ContextVar[bool] = ContextVar("simulated", default=False)
_PROGRESS: ContextVar[Progress] = ContextVar("progress", default=NullProgress())  # noqa: B039 - it has no state


@contextmanager
def simulated(progress: Progress | None = None) -> Iterator[None]:
    """Within this block, clients' work is simulated on the machine of the user who started it.

    No site with another owner is involved, so no site policy is consulted (`fgl.core.client.policy`). A federation that
    reaches other machines must never use this. progress: where the clients' work shows how far it is. Default: nowhere.
    """
    token, shown = _SIMULATED.set(True), _PROGRESS.set(progress or NullProgress())
    try:
        yield
    finally:
        _PROGRESS.reset(shown)
        _SIMULATED.reset(token)


def simulation_progress() -> Progress:
    """Where a simulated client shows how far it is. A site's own work reports to nobody."""
    return _PROGRESS.get()


def is_simulated() -> bool:
    """Whether the caller runs inside `simulated()`."""
    return _SIMULATED.get()


def contained(work: Callable[[], _T], failed: Callable[[BaseException], _T]) -> _T:
    """Return `work()`, or `failed(error)` if it raises anything at all.

    A SystemExit or KeyboardInterrupt that a plugin raises counts as a failure like any other. An interrupt by the user
    ends `work` and is raised again as KeyboardInterrupt, even if a plugin swallowed it.
    """
    with _interrupts() as interrupted:
        try:
            result = work()
        except BaseException as error:
            if interrupted():
                raise KeyboardInterrupt from None
            return failed(error)
        if interrupted():  # a plugin swallowed it
            raise KeyboardInterrupt
        return result


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether the user has interrupted since.

    Signals reach only the main thread. In any other thread, and where other code handles SIGINT without a Python
    handler, no KeyboardInterrupt is attributed to the user.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    pressed = threading.Event()

    def handler(number: int, frame: Any) -> Any:
        pressed.set()
        return before(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
