"""What is killed at one of its commits: in a process of its own, by SIGKILL.

Commits are: a file that is put in place or removed, before which the process dies, and a line of a ledger or of the
server's record that is flushed, of which there are two: the first leaves it torn, the second whole.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fgl.cli import main
from fgl.core.client import spending
from fgl.core.server import log

_TORN = 9  # bytes of a line that are missing


def killed(act: Callable[[], object], place: int) -> bool:
    """Do something in a process of its own that is killed at its place-th commit, from 1; whether it came to that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _die(place)
            act()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed; stderr says why"
    return os.WIFSIGNALED(status)


def done(act: Callable[[], object]) -> None:
    """Do it in a process of its own, to its end."""
    assert not killed(act, 0)


def command(*words: str, code: int = 0) -> Callable[[], None]:
    """A command as it is typed. code: with which it ends."""

    def act() -> None:
        found = 0
        with open(os.devnull, "w") as nowhere:
            before, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), nowhere, nowhere
            sys.argv = ["fgl", *words]
            try:
                main()
            except SystemExit as stop:
                found = int(stop.code or 0)
            finally:
                sys.stdout, sys.stderr = before
        assert found == code, f"exit code {found}, expected {code}"

    return act


def _die(place: int) -> None:
    count = 0

    def passed() -> None:
        nonlocal count
        count += 1
        if count == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **named: Any) -> Any:
            if os.path.lexists(path):
                passed()
            return act(path, *more, **named)

        return call

    def flushed(handle: int) -> None:
        if count + 1 == place:
            os.ftruncate(handle, os.fstat(handle).st_size - _TORN)
        passed()
        passed()

    for module in (spending, log):
        module.os = SimpleNamespace(**{**vars(os), "fsync": flushed})  # type: ignore[attr-defined]
    os.replace, os.unlink = before(os.replace), before(os.unlink)
