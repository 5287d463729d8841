"""The terminal of a command: stdout kept clean, interruptions, progress."""

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
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from fgl.contracts.progress import Progress


_STDOUT, _STDERR = 1, 2
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and SIGINT, as a shell gives it."""


def check_folder(option: str, folder: Path) -> None:
    """Raises ConfigError where `folder` can be none, because a file is there or above it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        expected = f"expected a folder, or a path where there is nothing yet; {there} is a file"
        raise ConfigError([Problem(option, str(folder), expected)], "the command line")


@contextmanager
def interruptible(folder: Path, again: str = "") -> Iterator[None]:
    """Typer ends an interrupted command without a word; a person wants to know how to go on. again: the command that
    does, "" for the same one."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"interrupted: {again or f'the same command with --out {folder}'} resumes from here"
        note(hint, "yellow")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Whatever a library prints goes to stderr: stdout is for the result."""
    kept, sys.stdout = sys.stdout, sys.stderr
    try:
        with _descriptor_to_stderr(kept):
            yield
    finally:
        sys.stdout = kept


@contextmanager
def _descriptor_to_stderr(stream: object) -> Iterator[None]:
    """As `stdout_to_stderr`, for what does not go through Python: libraries in C, and programs that are started."""
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        number = -1
    if number != _STDOUT:  # in a test, or already done
        yield
        return
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        with suppress(OSError, AttributeError):  # what C keeps for stdout would come out behind the result
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, _STDOUT)
        os.close(kept)


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
