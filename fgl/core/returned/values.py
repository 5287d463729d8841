"""What the checks of several methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fgl.io import strict_json
from fgl.text import quoted

CLASSES = "classes"
"""The fact how many classes there are."""


class WrongValueError(Exception):
    """A value that a contract does not allow; the message follows "METHOD() "."""


@dataclass(slots=True)
class Call:
    """One call of a guarded method, for the checks of `fgl.core.returned`."""

    owner: Any
    """The component itself."""

    arguments: Mapping[str, Any]
    """By the names that the protocol gives them."""

    facts: dict[str, Any]
    """What earlier calls have shown, such as the number of classes. What a method returns inherits them."""

    again: Callable[[], Any]
    """Calls the method once more."""


Check = Callable[[Any, Call], Any]
"""(what a method returned, its call) → the value to go on with. Raises WrongValueError. For a method that returns an
iterator, it gets the iterator and returns one."""


def report_json(value: Any, call: Call) -> dict[str, Any]:
    """For a report: numbers that are not finite become null."""
    try:
        converted = strict_json.finite(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongValueError(f"returned what is not JSON: {error}") from error
    return dict(converted)


def identity_json(value: Any, call: Call) -> dict[str, Any]:
    """For a digest: every number must be finite."""
    try:
        converted = strict_json.native(dict(value))
        strict_json.dumps(converted)
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongValueError(f"returned what is not JSON: {error}") from error
    return dict(converted)


def a_text(value: str, call: Call) -> str:
    if not value:
        raise WrongValueError("returned an empty text")
    return value


def numbers(value: Any, what: str = "returned") -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise WrongValueError(f"{what} {type(value).__name__} of {array.dtype}; expected an array of numbers")
    return array


def named_arrays(value: Mapping[str, Any], what: str = "returned") -> dict[str, Any]:
    for name in value:
        if not isinstance(name, str):
            raise WrongValueError(f"{what} an array called {quoted(name)}; expected names that are text")
    return {name: numbers(array, f"{what} {name} as") for name, array in value.items()}


def a_state(value: Mapping[str, Any], call: Call) -> dict[str, Any]:
    return named_arrays(value)


def finite_rows(value: Any, rows: int, columns: int | None = None) -> np.ndarray[Any, Any]:
    """Floating-point numbers [rows, columns], all finite. columns: None for any number."""
    array = numbers(value)
    shape = f"[{rows}, {'d' if columns is None else columns}]"
    if array.ndim != 2 or len(array) != rows or (columns is not None and array.shape[1] != columns):
        raise WrongValueError(f"returned {list(array.shape)}; expected {shape}, one row an image")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise WrongValueError(f"returned NaN or infinite values, first in row {at}")
    return array


def whole_numbers(value: Any, length: int, most: int | None, what: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 [length], each from 0 to `most` - 1."""
    array = numbers(value)
    if array.dtype.kind not in "iu" or array.shape != (length,):
        raise WrongValueError(
            f"returned {array.dtype} {list(array.shape)}; expected whole numbers [{length}], {what} of each image"
        )
    if len(array) and (int(array.min()) < 0 or (most is not None and int(array.max()) >= most)):
        outside = array[(array < 0) | (array >= (most if most is not None else np.iinfo(np.int64).max))]
        expected = f"0 to {most - 1}" if most is not None else "0 or more"
        raise WrongValueError(f"returned {int(outside[0])} as {what}; expected {expected}")
    return array.astype(np.int64)
