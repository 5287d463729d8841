"""Drawings of fgl's figures. matplotlib, of the extra `plots`, is imported only when one is drawn."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from fgl.errors import COMMAND_LINE, ConfigError, MissingExtraError, Problem
from fgl.io.files import open_regular

SUFFIXES = (".png", ".svg")
MAKER = "fgl"
"""Written into every drawing, so that fgl may replace it later."""
_MARKS = (b"Software\0fgl", b"<dc:title>fgl</dc:title>")


def check(path: Path, option: str, replace: bool = False) -> None:
    """Raises ConfigError or MissingExtraError if a drawing could not be saved at `path`; called before the work.

    option: its name in messages, for example "--plot". replace: whether a file that fgl did not draw may be
    overwritten."""
    problem = _problem(path) or ("" if replace or _is_replaceable(path.expanduser()) else _NOT_OURS)
    if problem:
        raise ConfigError([Problem(option, repr(str(path)), problem)], COMMAND_LINE)
    need(option)


def need(what: str) -> None:
    """Raises MissingExtraError if nothing can be drawn. what: the option or command that draws."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(f"{what} needs matplotlib, not installed: pip install matplotlib (fgl's extra plots)")


_NOT_OURS = "fgl did not draw the file that is there; expected another path, or --replace, which overwrites it"


def _is_replaceable(path: Path) -> bool:
    """Whether nothing of the user's is lost if a drawing is saved at `path`."""
    if not path.exists():
        return not path.is_symlink()
    if path.stat().st_size == 0:
        return True
    with open_regular(path) as file:
        head = file.read(4096)
    return any(mark in head for mark in _MARKS)


def _problem(path: Path) -> str:
    folder = path.expanduser().parent
    if path.suffix.lower() not in SUFFIXES:
        return f"expected a file that ends in {' or '.join(SUFFIXES)}"
    if path.expanduser().is_dir():
        return "it is a folder; expected a file in it"
    if not folder.is_dir():
        return f"there is no folder {folder.absolute()}; create it first, or choose another"
    if not os.access(path.expanduser() if path.expanduser().exists() else folder, os.W_OK):
        return "it cannot be written: no permission"
    return ""
