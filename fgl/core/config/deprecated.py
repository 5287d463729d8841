"""Keys and values of the release before, which this one still takes: what each is called now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from fgl.errors import Problem

log = logging.getLogger(__name__)


def _anything(_: Any) -> bool:
    return True


def _options_by_name(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(inner, Mapping) for inner in value.values())


@dataclass(frozen=True, slots=True)
class Renamed:
    """A key of a configuration that has another name now."""

    old: str
    new: str
    applies: Callable[[Any], bool] = _anything
    """Whether a value is of the old kind, where the key still exists and means something else."""


KEYS = (
    Renamed("baselines", "baseline_options", _options_by_name),
    Renamed("controls", "baselines"),
)
"""Old key → new key, at the top of a configuration, in the order in which they are replaced."""
VALUES: Mapping[tuple[str, ...], Mapping[str, str]] = {
    ("baselines",): {"pooled": "centralized"},
    ("audit", "parts"): {"memorisation": "memorization"},
}
"""Key, with the section that it is in → old value → new value, in a list or by itself."""


def current(
    layer: Mapping[str, object], problems: list[Problem], source: str = "the configuration"
) -> dict[str, object]:
    """A layer by its present keys and values, with one warning for each that is old.

    An old key beside the new one is added to `problems`: which of the two counts would be a guess."""
    renewed = {str(key): value for key, value in layer.items()}
    for key in KEYS:
        if key.old not in renewed or not key.applies(renewed[key.old]):
            continue
        if key.new in renewed and not _is_old(key.new, renewed[key.new]):
            expected = f"expected {key.new} alone: {key.old} is its old name, and both are given"
            problems.append(Problem(f"{key.old}, {key.new}", "both", expected))
            del renewed[key.old]
            continue
        warn(key.old, key.new, source)
        renewed[key.new] = renewed.pop(key.old)
    for path, values in VALUES.items():
        _replace(renewed, path, values, source)
    return renewed


def current_options(
    options: Mapping[str, object], renamed: Mapping[str, str], family: str, problems: list[Problem]
) -> dict[str, object]:
    """A component's options by their present names; see `Options.renamed`."""
    renewed = dict(options)
    for old, new in renamed.items():
        if old not in renewed:
            continue
        if new in renewed:
            expected = f"expected {new} alone: {old} is its old name, and both are given"
            problems.append(Problem(f"{family}.{old}, {family}.{new}", "both", expected))
            del renewed[old]
            continue
        warn(f"{family}.{old}", f"{family}.{new}", "the configuration")
        renewed[new] = renewed.pop(old)
    return renewed


def warn(old: str, new: str, source: str) -> None:
    """Say once, for this use, what a name is called now."""
    log.warning("%s: %s is called %s now; the old name works until fgl 0.3", source, old, new)


def _is_old(name: str, value: Any) -> bool:
    return any(key.old == name and key.applies(value) for key in KEYS)


def _replace(layer: dict[str, object], path: tuple[str, ...], values: Mapping[str, str], source: str) -> None:
    *sections, key = path
    place = layer
    for section in sections:
        inner = place.get(section)
        if not isinstance(inner, dict):
            return
        place[section] = place = dict(inner)
    given = place.get(key)
    old = [item for item in (given if isinstance(given, list | tuple) else [given]) if _known(item, values)]
    for item in dict.fromkeys(old):
        warn(f"{'.'.join(path)}: {item}", values[item], source)
    if isinstance(given, list | tuple):
        place[key] = [values[item] if _known(item, values) else item for item in given]
    elif _known(given, values):
        place[key] = values[given]


def _known(item: Any, values: Mapping[str, str]) -> TypeGuard[str]:
    return isinstance(item, str) and item in values
