"""Strict JSON (RFC 8259): any parser can read what fgl writes, and what fgl reads holds only finite numbers.

Where a number does not exist (a division by zero, a distance to no image), the code that computes it writes null. The
writer never replaces a number: a NaN that gets here is a bug, and the error names its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fgl.text import is_unseen


def dumps(value: Any, **options: Any) -> str:
    """JSON text. options: indent, sort_keys, separators of `json.dumps`.

    numpy's numbers, booleans and arrays are written as their values, and paths as text. Letters stay as they are;
    control and format characters and unpaired surrogates become \\u escapes, so that the text can be encoded, and shown
    on a terminal. Raises ValueError, which names the place of a number that is not finite, and TypeError for a value
    that JSON does not have.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain, **options)
    except ValueError as error:
        raise ValueError(f"{_not_finite(value, '') or error}, which JSON does not have") from None
    except TypeError:  # a key that is numpy's
        text = json.dumps(native(value), ensure_ascii=False, allow_nan=False, **options)
    return escaped(text)


def canonical(value: Any) -> bytes:
    """The bytes to hash for a digest of a JSON value: independent of the order of keys, and equal before and after the
    value has been written and read. Raises as `dumps`."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain, sort_keys=True)
    return text.encode("utf-8", "surrogatepass")


def ascii_dumps(value: Any, **options: Any) -> str:
    """As `dumps`, in pure ASCII, for outputs that support nothing else."""
    return json.dumps(json.loads(dumps(value)), ensure_ascii=True, allow_nan=False, **options)


def loads(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError for anything that is not JSON, including numbers too large for a float."""
    try:
        return json.loads(text, parse_constant=_constant, parse_float=_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def finite(value: Any) -> Any:
    """A plugin's values as JSON values: numpy's numbers as Python's, and null for each that is not finite."""
    value = native(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


def native(value: Any) -> Any:
    """Convert to Python's own types: lists for tuples, sets and arrays, numbers for numpy's, text for paths. Raises
    TypeError."""
    if isinstance(value, Mapping):
        return {_key(key): native(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [native(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else native(_plain(value))


def escaped(text: str) -> str:
    """JSON text with escapes for invisible characters. Line breaks between values stay."""
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(_escape(one) if not one.isascii() or one == "\x7f" else one for one in text)


def _escape(character: str) -> str:
    if not is_unseen(character):
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"  # as a pair of surrogates


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without importing numpy
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(
        f"a {type(value).__name__} is not a JSON value; expected numbers, text, booleans, lists or mappings"
    )


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    plain = key.item() if hasattr(key, "item") else key
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain, allow_nan=False)
    return str(_plain(plain))


def _not_finite(value: Any, place: str) -> str:
    """The first number that is not finite, as "quality.fid is nan"; "" if all are finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place or 'the value'} is {value}"
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (_not_finite(one, f"{place}.{key}" if place else str(key)) for key, one in pairs)
    return next((one for one in found if one), "")


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number
