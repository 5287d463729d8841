"""The path of the data, or an error that helps to find it."""

from __future__ import annotations

import difflib
from pathlib import Path

from fgl.errors import DataError


def existing(path: str, what: str) -> Path:
    """The absolute path of something that exists.

    Raises DataError with the absolute path, the part of it that is missing, and what exists beside that part.
    """
    wanted = Path(path).expanduser().absolute()
    if wanted.exists():
        if not wanted.is_file() and not wanted.is_dir():
            raise DataError(f"{what} '{wanted}' is neither a file nor a folder but a pipe, socket or device")
        return wanted
    missing = wanted
    while not missing.parent.exists():
        missing = missing.parent
    try:
        siblings = sorted(child.name for child in missing.parent.iterdir() if not child.name.startswith("."))
    except OSError:
        siblings = []
    close = difflib.get_close_matches(missing.name, siblings, n=1)
    hint = f"did you mean '{missing.parent / close[0]}'? " if close else ""
    shown = ", ".join(siblings[:8]) + (", ..." if len(siblings) > 8 else "")
    raise DataError(f"{what} does not exist: '{wanted}'; {hint}({missing.parent} holds: {shown or 'nothing'})")
