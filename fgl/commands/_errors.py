"""How a command ends that does not succeed: words on stderr, an exit code, and with --json an object on stdout."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any

from fgl import text
from fgl.commands import _output
from fgl.errors import ConfigError, FGLError, StoreError, UploadError

DEBUG = "FGL_DEBUG"
"""An environment variable: with it set, errors come with their traceback."""
UNEXPECTED = FGLError.exit_code
USAGE = ConfigError.exit_code


def report(error: BaseException) -> int:
    """Say what ended a command; returns its exit code."""
    if os.environ.get(DEBUG):
        trace = "".join(traceback.format_exception(error))
        print(text.lines(trace.rstrip()), file=sys.stderr)
    if isinstance(error, FGLError):
        code, message = error.exit_code, str(error)
    else:
        code, message = _unexpected(error)
    _output.error_line(message)
    say_json_error(type(error).__name__, message, code, _more(error))
    return code


def say_json_error(kind: str, message: str, code: int, more: dict[str, Any] | None = None) -> None:
    """With --json, an error as a JSON object on stdout, unless a result is there already."""
    if "--json" not in sys.argv[1:] or _output.json_was_said():
        return
    error = {"kind": kind, "message": text.lines(message), "exit_code": code, **(more or {})}
    try:
        _output.say_json({"error": error})
    except FGLError as second:  # stdout itself is what cannot be written
        if not isinstance(second, StoreError) or kind != "StoreError":
            _output.error_line(second)


def _more(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ConfigError):
        parts = ("key", "got", "expected")
        return {"problems": [{part: text.lines(getattr(one, part)) for part in parts} for one in error.problems]}
    return {"rule": error.rule} if isinstance(error, UploadError) else {}


def _unexpected(error: BaseException) -> tuple[int, str]:
    """(exit code, message) of an error that fgl did not raise on purpose."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename}" if error.filename else ""
        return StoreError.exit_code, f"no space left{where}; free some and run the same command again"
    if isinstance(error, MemoryError):
        return UNEXPECTED, "out of memory; smaller batches, images or models need less. What is committed is kept"
    return UNEXPECTED, (
        f"{text.kind_and_line(error, 300)}\n"
        "  fgl did not expect this: it is a fault of fgl or of a plugin. What is committed is kept; the same "
        f"command resumes there. {DEBUG}=1 fgl … shows the traceback, for a report of the fault"
    )
