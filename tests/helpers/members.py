"""Members of plugin families that are sound in all but what a test makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgl.contracts.component import Component
from fgl.core.guard import _members, protocol_of
from fgl.core.registry import Entry, Registry


def created(family: str, target: Any) -> Any:
    """A component as a configuration would get it, of the plugin fgl-bad."""
    registry = Registry()
    registry.add(Entry(family, Component("bad", target), "bad", "fgl-bad"))
    return registry.create(family, "bad", {})


def returning(protocol: type, values: Mapping[str, Any]) -> Any:
    """An object with all members of a protocol, those in `values` returning what is stated there."""
    attributes: dict[str, Any] = {}
    for name, member in _members(protocol).items():
        value = values.get(name)
        attributes[name] = property(lambda self, value=value: value) if member.is_property else _method(value)
    return type("Bad", (), attributes)()


def member(family: str, **values: Any) -> Any:
    """A guarded member of a family whose methods return these values."""
    return created(family, lambda: returning(protocol_of(family), values))


def _method(value: Any) -> Any:
    return lambda self, *arguments, **named: value
