"""Progress in bytes, for pulling and verifying."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fgl.contracts.progress import Progress, ProgressTask

log = logging.getLogger(__name__)

_LOG_EVERY = 30.0  # seconds


@contextmanager
def meter(progress: Progress | None, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with bytes done; progress is shown in kB or MB, whichever suits the total."""
    scale, unit = (10**6, "MB") if total >= 10**7 else (10**3, "kB")
    task: ProgressTask = (
        _Logged(what, total // scale, unit) if progress is None else progress.track(what, total // scale, unit=unit)
    )
    with task:
        rest = 0

        def advance(count: int) -> None:
            nonlocal rest
            whole, rest = divmod(rest + count, scale)
            if whole:
                task.advance(whole)

        yield advance


class _Logged:
    """Progress in the log, for pulls that a run starts by itself."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self.shown = 0, time.monotonic()

    def __enter__(self) -> _Logged:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        if time.monotonic() - self.shown >= _LOG_EVERY:
            self.shown = time.monotonic()
            log.warning("%s: %d of %d %s", self.what, self.done, self.total, self.unit)
