"""What a plugin registers, held against what a `Component` promises, before anybody lists or sorts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fgl.core.text import plain
from fgl.core.types import Component

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


def problem_of(component: Any, hook: str) -> str:
    """What is wrong with what a hook returned, "" where nothing is."""
    if not isinstance(component, Component):
        return f"{hook} returned {type(component).__name__}, expected fgl.Component"
    where = f"{hook}: component {plain(repr(component.name), 80)}"
    if not isinstance(component.name, str) or not NAME.match(component.name):
        return f"{where}: expected a name of small letters, digits, '-', '_' and '.', at most 64 of them"
    for field, optional in (("target", False), ("options", True)):
        value = getattr(component, field)
        if not (optional and value is None) and not (isinstance(value, str) and _TARGET.match(value)):
            return f"{where}: {field} is {plain(repr(value), 80)}, expected 'module:attribute'"
    if not isinstance(component.summary, str):
        return f"{where}: summary is {type(component.summary).__name__}, expected text"
    version = component.api_version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return f"{where}: api_version is {plain(repr(version), 80)}, expected a whole number from 1"
    for field in ("extras", "modules", "needs"):
        value = getattr(component, field)
        if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
            return f"{where}: {field} is {plain(repr(value), 80)}, expected a tuple of texts"
    for field in ("defaults", "bound", "continued"):
        value = getattr(component, field)
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return f"{where}: {field} is {plain(repr(value), 80)}, expected a mapping with names of options as keys"
    return ""
