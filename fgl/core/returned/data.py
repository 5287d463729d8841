"""What datasets and partitioners return, checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fgl.core.returned.values import CLASSES, Call, WrongValueError, whole_numbers
from fgl.text import plain, quoted


def info(value: Any, call: Call) -> Any:
    for name in ("class_names", "domains", "skipped", "notes"):
        names = getattr(value, name)
        if not isinstance(names, tuple | list) or not all(isinstance(each, str) for each in names):
            raise WrongValueError(f"returned {name} {plain(repr(names), 60)}; expected a tuple of texts")
    if not value.class_names:
        raise WrongValueError("returned no class names; expected at least one")
    if repeated := [name for name, count in Counter(value.class_names).items() if count > 1]:
        raise WrongValueError(f"returned the class name {quoted(repeated[0])} twice")
    for name in ("name", "digest"):
        if not isinstance(getattr(value, name), str) or not getattr(value, name):
            raise WrongValueError(f"returned {name} {plain(repr(getattr(value, name)), 60)}; expected a text")
    call.facts[CLASSES] = len(value.class_names)
    return value


def labels(value: Any, call: Call) -> Any:
    return whole_numbers(value, len(call.owner), call.facts.get(CLASSES), "the class")


def domains(value: Any, call: Call) -> Any:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        raise WrongValueError(f"returned {type(value).__name__}; expected a sequence of texts, or None")
    if len(value) != len(call.owner):
        raise WrongValueError(f"returned {len(value)} domains for {len(call.owner)} samples; expected one for each")
    return value


def image(value: Any, call: Call) -> Any:
    from PIL import Image

    if not isinstance(value, Image.Image):
        raise WrongValueError(f"returned {type(value).__name__}; expected a PIL image")
    if value.mode != "RGB":
        raise WrongValueError(f"returned an image of mode {value.mode}; expected RGB")
    return value


def partition(value: Any, call: Call) -> Any:
    """Server and clients compute it each for themselves: asked twice, it must be the same. What it may hold is checked
    in `fgl.core.partitioning`, for built-in partitioners too."""
    once, twice = _comparable(value), _comparable(call.again())
    if once != twice:
        raise WrongValueError(
            "returned two different partitions for the same samples and seed; expected it to draw at random from the "
            "seed alone: every client computes it for itself"
        )
    return value


def _comparable(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return None
    return {key: rows.tolist() if hasattr(rows, "tolist") else list(rows) for key, rows in value.items()}
