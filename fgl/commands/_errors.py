"""How a command fails: a message on stderr, an exit code, and with --json an object on stdout."""

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
"""Environment variable; where it is set, errors are shown with their traceback."""
UNEXPECTED = FGLError.exit_code
USAGE = ConfigError.exit_code


def report(error: BaseException, instead: FGLError | None = None) -> int:
    """Say why a command failed; returns its exit code. instead: what it means to the user, if not itself."""
    if os.environ.get(DEBUG):
        trace = "".join(traceback.format_exception(error))
        print(text.lines(trace.rstrip()), file=sys.stderr)
    error = instead or error
    if isinstance(error, FGLError):
        code, message = error.exit_code, str(error)
    else:
        code, message = _unexpected(error)
    _output.error_line(message)
    say_json_error(type(error).__name__, message, code, _more(error))
    return code


def say_json_error(kind: str, message: str, code: int, more: dict[str, Any] | None = None) -> None:
    """With --json, write an error to stdout as a JSON object, unless a result was written already."""
    if "--json" not in sys.argv[1:] or _output.wrote_json():
        return
    error = {"kind": kind, "message": text.lines(message), "exit_code": code, **(more or {})}
    try:
        _output.say_json({"error": error})
    except FGLError as second:  # stdout itself may be what cannot be written
        if not isinstance(second, StoreError) or kind != "StoreError":
            _output.error_line(second)


def _more(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ConfigError):
        parts = ("key", "got", "expected")
        return {
            "problems": [{part: text.lines(getattr(problem, part)) for part in parts} for problem in error.problems]
        }
    return {"rule": error.rule} if isinstance(error, UploadError) else {}


def _unexpected(error: BaseException) -> tuple[int, str]:
    """(exit code, message) for an error that fgl did not raise on purpose."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename}" if error.filename else ""
        return StoreError.exit_code, f"no space left{where}; free some and run the same command again"
    if isinstance(error, MemoryError):
        return UNEXPECTED, "out of memory; smaller batches, images or models need less. Finished stages are kept"
    return UNEXPECTED, (
        f"{text.kind_and_line(error, 300)}\n"
        "  fgl did not expect this: it is a bug in fgl or in a plugin. Finished stages are kept; the same command "
        f"resumes after them. {DEBUG}=1 fgl … shows the traceback, for a bug report"
    )
