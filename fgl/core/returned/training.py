"""What classifiers, feature spaces, algorithms and federations return, checked."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fgl.contracts.federation import ClientFailure
from fgl.core.returned.values import (
    CLASSES,
    Call,
    WrongValueError,
    finite_rows,
    identity_json,
    named_arrays,
    numbers,
    whole_numbers,
)
from fgl.text import plain, quoted


def classes_known(value: Any, call: Call) -> Any:
    context = call.arguments.get("context")
    if context is not None:
        call.facts[CLASSES] = len(context.class_names)
    return value


def predicted(value: Any, call: Call) -> Any:
    return whole_numbers(value, len(call.arguments["pixels"]), call.facts.get(CLASSES), "the class")


def logits(value: Any, call: Call) -> Any:
    return finite_rows(value, len(call.arguments["pixels"]), call.facts.get(CLASSES))


def features(value: Any, call: Call) -> Any:
    return finite_rows(value, len(call.arguments["pixels"]))


def nearest(value: Any, call: Call) -> Any:
    if not isinstance(value, tuple) or len(value) != 2:
        raise WrongValueError(f"returned {type(value).__name__}; expected (distances, positions)")
    count, most = len(call.arguments["points"]), len(call.arguments["others"])
    distances, positions = numbers(value[0]), whole_numbers(value[1], count, most, "the position")
    if distances.shape != (count,):
        raise WrongValueError(f"returned distances {list(distances.shape)}; expected [{count}]")
    return distances, positions


def history(value: Any, call: Call) -> list[dict[str, Any]]:
    entries = list(value)
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise WrongValueError(f"returned {type(entry).__name__} as entry {number}; expected a mapping of numbers")
    return [identity_json(entry, call) for entry in entries]


def size(value: int, call: Call) -> int:
    if value < 0:
        raise WrongValueError(f"returned {value}; expected a number of bytes")
    return value


def saved(value: Any, call: Call) -> Any:
    folder = Path(call.arguments["folder"])
    if not any(path.is_file() for path in folder.rglob("*")):
        raise WrongValueError("wrote no file to its folder; expected a model")
    return value


def trained(value: Any, call: Call) -> list[str]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise WrongValueError(f"returned {plain(repr(value), 60)}; expected names of arrays of state()")
    return list(value)


def _same_model(model: Any, before: Mapping[str, Any], what: str) -> None:
    if not isinstance(model, Mapping):
        raise WrongValueError(f"returned {what} as {type(model).__name__}; expected a mapping of arrays")
    if different := sorted(set(model) ^ set(before)):
        kind = "without" if different[0] in before else "with an unknown array"
        raise WrongValueError(f"returned {what} {kind} {quoted(different[0])}; expected the arrays that it was given")
    for name, array in model.items():
        got, expected = np.asarray(array), np.asarray(before[name])
        if (got.dtype, got.shape) != (expected.dtype, expected.shape):
            raise WrongValueError(
                f"returned {what} with {name} as {got.dtype} {list(got.shape)}; expected {expected.dtype} "
                f"{list(expected.shape)}"
            )


def started(value: Any, call: Call) -> Any:
    _same_model(value.model, call.arguments["model"], "a model")
    return value


def aggregated(value: Any, call: Call) -> Any:
    _same_model(value.model, call.arguments["state"].model, "a model")
    return value


def updated(value: Any, call: Call) -> Any:
    job = call.arguments["job"]
    _same_model(value.model, job.start, "a model")
    named_arrays(value.extra, "returned in extra"), named_arrays(value.kept, "returned in kept")
    if value.client_id != job.client_id or value.samples != job.samples:
        raise WrongValueError("returned another client_id or number of samples than those of its job")
    return value


def ruled(value: Any, call: Call) -> Any:
    """An aggregation rule's: as many rows of the same parts, all finite."""
    given: Mapping[str, Any] = call.arguments["parts"]
    if set(value.parts) != set(given):
        got = plain(", ".join(map(str, value.parts)), 60)
        raise WrongValueError(f"returned the parts {got}; expected {', '.join(given)}")
    parts = {name: np.asarray(numbers(array, f"returned {name} as"), np.float64) for name, array in value.parts.items()}
    for name, array in parts.items():
        if array.shape != given[name].shape or not np.isfinite(array).all():
            raise WrongValueError(f"returned {name} {list(array.shape)}; expected finite {list(given[name].shape)}")
    count = len(next(iter(given.values())))
    if not all(0 <= operator.index(row) < count for row in (*value.left_out, *value.scaled)):
        raise WrongValueError(f"named rows {sorted({*value.left_out, *value.scaled})}; expected 0 to {count - 1}")
    if len(set(value.left_out)) >= count:
        raise WrongValueError(f"left all {count} updates out; expected at least one to be used")
    return replace(value, parts=parts)


def replied(value: Mapping[str, Any], call: Call) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, shape in value.items():
        try:
            shapes[str(name)] = tuple(operator.index(size) for size in shape)
        except TypeError:
            raise WrongValueError(f"returned {plain(repr(shape), 60)} for {name}; expected a shape") from None
    return shapes


def answers(items: Iterator[Any], call: Call) -> Iterator[Any]:
    asked = list(call.arguments["client_ids"])
    for client_id in asked:
        try:
            item = next(items)
        except StopIteration:
            raise WrongValueError(f"yielded nothing for {client_id}; expected a reply or fgl.ClientFailure") from None
        if not isinstance(item, tuple) or len(item) != 2:
            raise WrongValueError(f"yielded {type(item).__name__}; expected (client id, reply)")
        if item[0] != client_id:
            raise WrongValueError(
                f"yielded {quoted(item[0])} where {client_id} was next; expected the order of client_ids"
            )
        if not isinstance(item[1], bytes | ClientFailure):
            raise WrongValueError(f"yielded {type(item[1]).__name__}; expected bytes or fgl.ClientFailure")
        yield item
    for item in items:
        raise WrongValueError(f"yielded {plain(repr(item), 60)} after the last client")
