"""Where a client's work begins and ends: whose interrupt it was, and whether the client is simulated.

A transport, which is a plugin, imports this.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_T = TypeVar("_T")
_SIMULATED: ContextVar[bool] = ContextVar("simulated", default=False)


@contextmanager
def simulated() -> Iterator[None]:
    """The clients' work in this block is a simulation on the machine of whoever asks: there is no site whose owner
    could want something else, and no policy is asked (`fgl.core.client.policy`). A transport to other machines never
    says so."""
    token = _SIMULATED.set(True)
    try:
        yield
    finally:
        _SIMULATED.reset(token)


def is_simulated() -> bool:
    return _SIMULATED.get()


def contained(work: Callable[[], _T], failed: Callable[[BaseException], _T]) -> _T:
    """`work()`, or where it raises anything at all, `failed(error)`: a plugin's SystemExit or KeyboardInterrupt is a
    failure like another. The user's own interrupt ends `work`, and is raised, whatever a plugin made of it."""
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
    """Yields whether the user has interrupted since. Signals reach the main thread alone: in another one, and where
    somebody else handles them, KeyboardInterrupt is not the user's."""
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
