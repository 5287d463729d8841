"""YAML files and assignments as layers of a configuration; components by their short forms."""

from __future__ import annotations

from pathlib import Path

import yaml

from fgl import text
from fgl.core.config.validation import shown
from fgl.errors import ConfigError, Problem
from fgl.io import yaml_text


def read_yaml(path: Path) -> dict[str, object]:
    """Raises ConfigError that names the file and, for a syntax error, the line."""
    try:
        loaded = yaml_text.read(path)
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "no such file", "expected a YAML file")], "the command line") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = f"{_yaml_reason(error)}; expected YAML text"
        raise ConfigError([Problem(str(path), "", reason)], str(path)) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError([Problem(str(path), shown(loaded), "expected a mapping of keys to values")], str(path))
    return loaded


def _yaml_reason(error: BaseException) -> str:
    """Without what libraries and Python add for programmers."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    if isinstance(error, UnicodeDecodeError):
        return f"the byte {error.object[error.start]:#04x} at {error.start}, which is not UTF-8"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "brackets in brackets beyond measure" if isinstance(error, RecursionError) else text.plain(error, 300)


def set_option(layer: dict[str, object], assignment: str) -> None:
    """Put `family.option=value` (value in YAML) into a layer. Raises ConfigError where it has another form."""
    key, equals, given = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError([Problem("--set", repr(assignment), "expected family.option=value")], "the command line")
    try:
        value = yaml_text.load(given)
    except (yaml.YAMLError, ValueError, RecursionError):  # a template such as {label}, photo is text, and no YAML
        value = given
    place = layer
    for index, part in enumerate(parts[:-1]):
        inner = place.setdefault(part, {})
        if isinstance(inner, str) and index == 0:
            inner = place[part] = expand(part, inner)
        if not isinstance(inner, dict):
            raise ConfigError([Problem(key, repr(assignment), f"{part} is not a mapping")], "the command line")
        place = inner
    place[parts[-1]] = value


class ShortForm(str):
    """What stands for a component and its options, such as `bundled:eurosat` or a path. What it stands for depends on
    what is installed: `short_forms.expanded`."""


def expand(family: str, value: str) -> dict[str, object]:
    """A component as a mapping, so that options can be set beside its short form."""
    return {"name": ShortForm(value)}
