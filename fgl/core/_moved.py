"""Import paths of fgl 0.1 that plugins use: they work for one release, and say what to write instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def moved(old: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of the module that was called `old`. homes: old name → "module:name" today."""

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        top = import_module("fgl")
        place = "fgl" if attribute in top.__all__ else module
        warnings.warn(
            f"{old}.{name} is {place}.{attribute} since fgl 0.2; the old name goes with fgl 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(module), attribute)

    return get, lambda: sorted(homes)


def names(module: str, same: str, **renamed: str) -> dict[str, str]:
    """Names that are in `module` today, separated by spaces. renamed: old name → the name today."""
    return {name: f"{module}:{renamed.get(name, name)}" for name in (*same.split(), *renamed)}
