"""Dataclasses as JSON, and back: the one place where results are written and read.

A field is a key, in the order of the class. `json_field` is for a key that is not a name in Python, and for one that is
left out where there is nothing to say; `json_rest` takes the keys that only a plugin knows.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
JsonObject = dict[str, Any]
"""A JSON object that fgl does not look into: a plugin's account of itself, a configuration."""
_KEY, _OMIT, _REST = "json_key", "json_omit", "json_rest"


def json_field(key: str = "", *, omit_none: bool = False) -> Any:
    """A field of a dataclass. key: in JSON, the field's name by default. omit_none: None, which is then the default, is
    no key at all."""
    metadata = {_KEY: key, _OMIT: omit_none}
    return field(metadata=metadata, default=None if omit_none else MISSING)


def json_rest() -> Any:
    """A field that holds what a plugin says beside the other fields: its entries are keys of the object itself."""
    return field(metadata={_REST: True}, default_factory=dict)


def is_rest(one: Field[Any]) -> bool:
    return bool(one.metadata.get(_REST))


def key_of(one: Field[Any]) -> str:
    """The key of a field in JSON."""
    return one.metadata.get(_KEY) or one.name


def is_omitted(one: Field[Any]) -> bool:
    """Whether a field that is None has no key."""
    return bool(one.metadata.get(_OMIT))


def to_json(value: object) -> Any:
    """A dataclass as a mapping, its fields in their order; whatever else JSON can hold as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        items: dict[str, object] = {}
        for one in fields(value):
            each = getattr(value, one.name)
            if is_rest(one):
                items |= to_json(each)
            elif each is not None or not is_omitted(one):
                items[key_of(one)] = to_json(each)
        return items
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], value: Mapping[str, object], *, strict: bool = False, where: str = "") -> T:
    """What `to_json` made of a dataclass.

    Args:
        kind: The dataclass.
        value: The JSON object.
        strict: Whether keys that the class does not have are an error, at any depth; they are left out otherwise. The
            type of each value is then checked too.
        where: What the place of the object is called in an error.

    Raises:
        KeyError: The value lacks a field that has no default.
        ValueError: A key or a type is not that of the class, where `strict` is asked for.
    """
    reader = _Reader(strict)
    found: T = reader.object(kind, value, where)
    return found


@cache
def hints(kind: type) -> dict[str, object]:
    """Field → its type."""
    found = get_type_hints(kind)
    return {one.name: found[one.name] for one in fields(kind)}


class _Reader:
    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def object(self, kind: Any, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where or kind.__name__}: expected an object, got {type(value).__name__}")
        keys = {key_of(one): one for one in fields(kind) if not is_rest(one)}
        rest = next((one.name for one in fields(kind) if is_rest(one)), None)
        unknown = [key for key in value if key not in keys]
        if unknown and self.strict and rest is None:
            raise ValueError(f"{where or kind.__name__}: {', '.join(unknown)}: no such key in {kind.__name__}")
        lacking = [key for key, one in keys.items() if key not in value and _is_required(one)]
        if lacking:
            raise KeyError(f"{where or kind.__name__}: {', '.join(lacking)} is missing")
        types_ = hints(kind)
        given = {
            one.name: self.value(types_[one.name], value[key], f"{where}.{key}" if where else key)
            for key, one in keys.items()
            if key in value
        }
        return kind(**given) if rest is None else kind(**given, **{rest: {key: value[key] for key in unknown}})

    def value(self, hint: Any, value: Any, where: str) -> Any:
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            if value is None and type(None) in inner:
                return None
            (first, *_) = (each for each in inner if each is not type(None))
            return self.value(first, value, where)
        if is_dataclass(hint):
            return self.object(hint, value, where)
        if self.strict:
            self._check(origin or hint, value, where)
        if origin is tuple and inner[-1] is not Ellipsis:
            return tuple(self.value(one, item, where) for one, item in zip(inner, value, strict=True))
        if origin in (tuple, list, Sequence) and inner:
            return _LISTS[origin](self._each(inner[0], value, where))
        if origin in (dict, Mapping) and inner:
            return {key: self.value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
        return value

    def _each(self, hint: Any, value: Iterable[Any], where: str) -> Iterable[Any]:
        return (self.value(hint, item, f"{where}[{place}]") for place, item in enumerate(value))

    def _check(self, hint: Any, value: Any, where: str) -> None:
        expected = _TYPES.get(hint)
        if expected is None:
            return
        if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
            raise ValueError(f"{where}: expected {hint.__name__}, got {type(value).__name__}")


_LISTS: dict[Any, Any] = {tuple: tuple, list: list, Sequence: list}
_TYPES: dict[Any, Any] = {
    str: str,
    bool: bool,
    int: int,
    float: (int, float),
    list: (list, tuple),
    tuple: (list, tuple),
    Sequence: (list, tuple),
    dict: Mapping,
    Mapping: Mapping,
}


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING
