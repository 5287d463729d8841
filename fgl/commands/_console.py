"""The terminal of a command: a clean stdout, interruptions, progress."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fgl.commands._output import note
from fgl.errors import COMMAND_LINE, ConfigError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from fgl.contracts.progress import Progress


_STDOUT, _STDERR = 1, 2
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as a shell reports it."""


def check_folder(option: str, folder: Path) -> None:
    """Raises ConfigError where `folder` cannot be a folder: it, or what is above it, is a file."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        expected = f"expected a folder, or a path that does not exist yet; {existing} is a file"
        raise ConfigError([Problem(option, str(folder), expected)], COMMAND_LINE)


@contextmanager
def interruptible(folder: Path, command: str = "") -> Iterator[None]:
    """After Ctrl-C, say which command resumes: Typer ends in silence. command: "" for the one that was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"interrupted: {command or f'the same command with --out {folder}'} resumes from here"
        note(hint, "yellow")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send whatever a library prints to stderr: stdout is for the result."""
    original, sys.stdout = sys.stdout, sys.stderr
    try:
        with _descriptor_to_stderr(original):
            yield
    finally:
        sys.stdout = original


@contextmanager
def _descriptor_to_stderr(stream: object) -> Iterator[None]:
    """As `stdout_to_stderr`, for output that does not pass through Python: of C libraries and of subprocesses."""
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        number = -1
    if number != _STDOUT:  # in a test, or redirected already
        yield
        return
    original = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):  # what C has buffered for stdout would follow the result
            ctypes.CDLL(None).fflush(None)
        os.dup2(original, _STDOUT)
        os.close(original)


def console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def shown(quiet: bool) -> Iterator[Progress]:
    """Where progress goes: to stderr, or nowhere."""
    if quiet:
        from fgl.contracts.progress import NullProgress

        yield NullProgress()
    else:
        from fgl.console import progress

        with progress(console()) as display:
            yield display
