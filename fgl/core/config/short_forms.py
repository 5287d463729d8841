"""Short forms of components: a name, NAME:TEXT, or the path of what a component opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fgl.contracts.component import Component
from fgl.core.config.defaults import PATHS
from fgl.core.config.loader import ShortForm
from fgl.core.config.schema import Selected
from fgl.core.registry import Registry
from fgl.errors import PluginError, Problem


def expanded(family: str, value: Any, registry: Registry, problems: list[Problem] | None = None) -> Any:
    """A section of a configuration whose short form, where it has one, has become a name and options. Anything else is
    as it was. problems: takes what is wrong with a short form."""
    if isinstance(value, str):
        return _meant(family, value, registry, problems)
    if isinstance(value, Mapping) and isinstance(name := value.get("name"), ShortForm):
        rest = {key: inner for key, inner in value.items() if key != "name"}
        return {**_meant(family, str(name), registry, problems), **rest}
    return value


def _meant(family: str, text: str, registry: Registry, problems: list[Problem] | None) -> dict[str, object]:
    names = registry.names(family)
    if text in names:
        return {"name": text}
    name, colon, rest = text.partition(":")
    if colon and name in names:
        try:
            return {"name": name, **registry.options_class(registry.find(family, name)).from_text(rest)}
        except PluginError:  # said when the component is looked for
            return {"name": name}
        except ValueError as error:
            if problems is not None:
                problems.append(Problem(family, repr(text), f"{name} {error}"))
            return {"name": name}
    kind = kind_of(family, text, registry)
    if kind is None:
        return {"name": text}
    try:
        return {"name": kind, **registry.options_class(registry.find(family, kind)).from_text(text)}
    except (PluginError, ValueError):
        return {"name": kind}


def kind_of(family: str, text: str, registry: Registry) -> str | None:
    """The component that opens what lies at a path, None where the text is not a path. What looks like a path but does
    not exist is one too: the component says what is there instead."""
    if (family, "file") not in PATHS:
        return None
    path = Path(text).expanduser()
    patterns = list(_patterns(family, registry))
    if path.is_dir():
        inside = [(name, pattern.partition("/")[2]) for name, pattern in patterns if "/" in pattern]
        plain = [(name, pattern) for name, pattern in inside if not _has_wildcard(pattern)]
        for name, pattern in (*plain, *(one for one in inside if one not in plain)):
            if next(path.glob(pattern), None) is not None:
                return name
        return PATHS[family, "folder"]
    names_of_files = [(name, pattern) for name, pattern in patterns if "/" not in pattern]
    known = next((name for name, pattern in names_of_files if fnmatchcase(path.name, pattern)), None)
    if path.is_file():
        return known or PATHS[family, "file"]
    if text.startswith((".", "~", "/")):
        return known or PATHS[family, "folder"]
    return PATHS.get((family, "name")) if "/" in text else None


def _has_wildcard(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _patterns(family: str, registry: Registry) -> Iterator[tuple[str, str]]:
    """(component, pattern), those of fgl first: what a path means does not change with what is installed beside it."""
    entries = [entry for entry in registry.all() if entry.family == family]
    for entry in sorted(entries, key=lambda entry: entry.distribution != "fgl"):
        for pattern in entry.component.opens:
            yield entry.component.name, pattern


def shown(family: str, selected: Selected, registry: Registry, between: str = " ") -> str:
    """A component as a person calls it, with what it opens: "bundled eurosat"."""
    rest = registry.options_class(registry.find(family, selected.name)).of(selected.options).short_name()
    return f"{selected.name}{between}{rest}" if rest else selected.name


def component_of(family: str, name: str, registry: Registry) -> Component | None:
    """The component of that name, None where there is none that can be used, which is said elsewhere."""
    try:
        return registry.find(family, name).component
    except PluginError:
        return None
