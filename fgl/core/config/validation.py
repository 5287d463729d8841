"""Options checked against their types: what is wrong, what was given, and what is allowed, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from fgl.contracts.options import Options
from fgl.errors import BrokenPluginError, FGLError, Problem, suggestion
from fgl.io.yaml_text import Fraction, Number
from fgl.text import kind_and_line


def validate(family: str, cls: type[Options], given: dict[str, object], problems: list[Problem]) -> Options | None:
    """The options, or None where something is wrong: then it is in `problems`, each with its key below `family`."""
    given = {str(key): value for key, value in given.items()}
    broken = [Problem(key, shown(text), "expected text without NUL characters") for key, text in _nuls(family, given)]
    if broken:  # no file and no text encoder takes any, and libraries fail on them with a traceback
        problems += broken
        return None
    try:
        return cls.of(given)
    except ValidationError as error:
        by_key: dict[str, tuple[Any, list[str]]] = {}
        for detail in error.errors(include_url=False):
            key, value, expected = _judged(family, cls, given, detail)
            by_key.setdefault(key, (value, []))[1].append(expected)
        for key, (value, rules) in by_key.items():
            # what each of several kinds would have to be is one sentence
            alike = all(rule.startswith("expected ") for rule in rules)
            text = (
                "expected " + ", or ".join(rule.removeprefix("expected ") for rule in rules)
                if alike
                else "; ".join(rules)
            )
            problems.append(Problem(key, "nothing" if value is _NOTHING else shown(value), text))
    except FGLError as error:
        problems.append(Problem(family, "", str(error)))
    except Exception as error:
        if cls.__module__.startswith("fgl."):
            raise
        said = f"options of {family} ({cls.__module__}:{cls.__qualname__}) raised {kind_and_line(error)}"
        raise BrokenPluginError(f"{said}; a validator raises ValueError for a value that is wrong") from error
    return None


_NOTHING = object()


def _judged(family: str, cls: type[Options], given: dict[str, object], detail: Any) -> tuple[str, Any, str]:
    """(key, what it holds, what it may hold) of what pydantic finds wrong."""
    place = detail["loc"]
    value = detail["input"]
    # Of an option that may be one of several kinds, each kind is a part of the place, in the words of Python.
    if len(place) > 1 and _has_kinds(cls, place[0]):
        place, value = place[:1], given.get(str(place[0]), value)
    is_key = len(place) > 1 and place[-1] == "[key]"  # of a mapping; the part before it is the key itself
    key = ".".join([family, *map(str, place[: -2 if is_key else None])])
    if detail["type"] == "extra_forbidden":
        option = str(place[-1])
        cls = _section(cls, place[:-1])
        return (
            key,
            value,
            f"unknown option{suggestion(option, cls.model_fields)} (known: {', '.join(cls.model_fields)})",
        )
    if detail["type"] == "missing":
        short = isinstance(detail["loc"][-1], int)
        return key, _NOTHING, "expected a longer list" if short else "this option is required"
    expected = _expected(detail)
    if detail["type"] == "string_type" and not isinstance(value, dict | list | tuple):
        expected += f": put it in quotes, '{shown(value)}'"
    return key, value, f"{expected} (a key)" if is_key else expected


def _section(cls: type[Options], place: Sequence[Any]) -> type[Options]:
    """The options class at a place of another one's."""
    for name in place:
        field = cls.model_fields.get(str(name))
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        cls = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Options)), cls)
    return cls


def _has_kinds(cls: type[Options], name: Any) -> bool:
    field = cls.model_fields.get(str(name))
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] if field is not None else []
    return len(kinds) > 1 and get_origin(getattr(field, "annotation", None)) in (Union, UnionType)


_KINDS = {
    "list_type": "a list such as [a, b]",
    "tuple_type": "a list such as [a, b]",
    "set_type": "a list such as [a, b]",
    "dict_type": "a mapping such as {a: b}",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "none_required": "null",
    "is_instance_of": "text",
    "path_type": "text that is a path",
    "date_type": "a date such as 2030-01-31",
    "datetime_type": "a time such as 2030-01-31T12:00:00",
    "frozen_set_type": "a list such as [a, b]",
}
_BOUNDS = {
    "literal_error": "{expected}",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of at least {min_length} in length",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "too_short": "at least {min_length} in the list, not {actual_length}",
    "too_long": "at most {max_length} in the list, not {actual_length}",
}


def _expected(detail: Any) -> str:
    """In the words of YAML and --set, where pydantic speaks of Python."""
    kind, more = detail["type"], detail.get("ctx", {})
    plain = _KINDS.get(kind)
    if plain is not None:
        return f"expected {plain}"
    if kind == "string_too_short" and more["min_length"] == 1:
        return "expected text that is not empty"
    if kind in _BOUNDS:
        return "expected " + _BOUNDS[kind].format(**more)
    message: str = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _nuls(key: str, value: Any, depth: int = 20) -> Iterator[tuple[str, str]]:
    """(key, text) of each text with a NUL in a value."""
    if isinstance(value, str):
        if "\0" in value:
            yield key, value
    elif isinstance(value, dict | list | tuple) and depth:  # with an alias, YAML can hold itself
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _nuls(f"{key}.{name}", inner, depth - 1)


def shown(value: Any, depth: int = 4) -> str:
    """A value as it was written, in quotes where it is text, and no longer than a line."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, dict | list | tuple) and value and not depth:
        text = "{…}" if isinstance(value, dict) else "[…]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{name}: {shown(one, depth - 1)}" for name, one in list(value.items())[:8]) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(one, depth - 1) for one in value[:8]) + "]"
    elif isinstance(value, Number | Fraction):
        text = value.written
    elif isinstance(value, str):
        text = repr(value[:80])
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
