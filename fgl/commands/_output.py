"""Where a command's output goes: its result to stdout, whole and as text; everything else to stderr.

Whatever was computed is on disk before it is printed. So an output that is closed, full, or lacks letters costs nothing
but the printed words: letters become escapes, a reader that has gone ends the command quietly, and a full disk is an
error with an exit code of its own.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fgl import text
from fgl.errors import StoreError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.report.tables import Table


SCHEMA_VERSION = 1
"""Of the objects that `say_json` writes; report.json and its like have one of their own."""
READER_GONE = 141
"""Exit code where whoever read stdout has gone: 128 + SIGPIPE, as a shell reports it of other programs."""
_wrote_json = False


def say(line: object = "") -> None:
    """Print a line of the result. Control and format characters are shown as escapes, line breaks too.

    Raises StoreError where stdout cannot be written, SystemExit where its reader has gone."""
    _write(f"{text.line(line)}\n")


def say_text(value: str) -> None:
    """As `say`, for a text of several lines."""
    for line in value.split("\n"):
        say(line)


def say_json(value: Mapping[str, Any]) -> None:
    """Print the result as one JSON object on one line, with `schema_version`; in ASCII if stdout lacks letters."""
    global _wrote_json  # an error is an object of its own only where no result is, see `wrote_json`
    whole = {"schema_version": SCHEMA_VERSION, **value}
    line = strict_json.dumps(whole)
    if _fitting(line) != line:
        line = strict_json.ascii_dumps(whole)
    _wrote_json = True
    _write(f"{line}\n")


def say_table(table: Table, width: int, *, first_is_bold: bool = False) -> None:
    """A table with its rules and its title. width: columns where stdout is no terminal. first_is_bold: whether the
    first row is the one to look at."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    drawn = table.rich()
    if first_is_bold:
        drawn.rows[0].style = "bold"
    # Not to stdout: `_write` says so if it is full. With its encoding, because rich draws other rules if it is ASCII.
    encoding = _encoding()
    shown = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", newline="")
    columns = None if terminal else width
    Console(file=shown, force_terminal=terminal or None, width=columns, markup=False, highlight=False).print(drawn)
    shown.seek(0)
    _write(shown.read())


def say_columns(table: Table, indent: int = 0) -> None:
    """A table as lines of text, without rules."""
    for line in table.lines(indent):
        say(line)


def note(line: object, style: str | None = None) -> None:
    """Print a line on stderr, beside the result. style: of rich, for example yellow for what is easily overlooked."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(text.line(line), style or ""), soft_wrap=True, highlight=False)


def error_line(message: object) -> None:
    """Print an error on stderr. Lines after the first are indented: none can pass for another message."""
    first, *others = text.lines(message).split("\n")
    indented = (line if line.startswith("  ") or not line else f"  {line}" for line in others)
    print("\n".join([f"error: {first}", *indented]), file=sys.stderr)


def wrote_json() -> bool:
    """Whether the command has written its result as JSON."""
    return _wrote_json


@contextmanager
def prepared() -> Iterator[None]:
    """For the time of one command: standard streams that lose no result, and that no printed text can control."""
    global _wrote_json
    _wrote_json = False
    _open_missing()
    streams, format_warning = (sys.stdout, sys.stderr), warnings.formatwarning
    last, formatter = logging.lastResort, None
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = _Forgiving(streams[1])
    warnings.formatwarning = lambda *args, **kwargs: f"{text.lines(format_warning(*args, **kwargs).rstrip())}\n"
    if last is not None:
        formatter = last.formatter
        last.setFormatter(_OneLine())
    try:
        yield
    finally:
        sys.stderr, warnings.formatwarning = streams[1], format_warning
        if last is not None:
            last.setFormatter(formatter)


class _OneLine(logging.Formatter):
    """Keeps each of fgl's own messages on one line, whatever names it holds; other libraries' may have several."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return text.plain(message) if record.name.split(".")[0] == "fgl" else text.lines(message)


class _Forgiving:
    """A stderr that may fail to be written: progress is no result, so the command continues."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, words: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(words)
        return len(words)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(words: str) -> None:
    out = sys.stdout
    try:
        out.write(_fitting(words))
        out.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise SystemExit(READER_GONE) from None
    except (OSError, ValueError) as error:  # ValueError: a stream that was closed
        _forget_stdout()
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"cannot write to stdout: {reason}; what the command has stored is kept, only its output is lost"
        ) from None


def _fitting(words: str) -> str:
    """With escapes for letters that stdout's encoding lacks."""
    encoding = _encoding()
    return words.encode(encoding, "backslashreplace").decode(encoding)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _forget_stdout() -> None:
    """Python flushes stdout once more when it exits, and would complain again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass


def _open_missing() -> None:
    """Open closed standard streams: else the next file that is opened takes their place, and gets what is printed."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdout is None:  # writing to it is an error, which is reported
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
