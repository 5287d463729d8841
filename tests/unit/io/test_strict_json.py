"""JSON that any parser reads, of values that plugins and outsiders give."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl.io.strict_json import ascii_dumps, dumps, finite, loads
from fgl.text import is_unseen

TEXT = st.text(
    st.characters(codec=None, categories=None) | st.sampled_from('\x1b\x9b\x7f\u202e\u200d\udce9\U000e0041"\\\n')
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back_and_can_be_encoded_and_shown(value: Any) -> None:
    text = dumps(value)
    assert loads(text) == value or _equal(loads(text), value)
    text.encode()
    assert not any(is_unseen(character) for character in text)
    assert ascii_dumps(value).isascii()
    assert _equal(loads(ascii_dumps(value)), value)


def _equal(one: Any, other: Any) -> bool:
    """Pairs of unpaired surrogates come back as the one character that they encode."""
    return bool(json.dumps(one) == json.dumps(other))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"quality": {"fid": math.nan}}, "quality.fid is nan"),
        ([1.0, math.inf], "1 is inf"),
        ({"a": [{"b": -math.inf}]}, "a.0.b is -inf"),
        ({"a": np.float32("nan")}, "a is nan"),
        ({"a": np.array([0.0, np.nan])}, "a.1 is nan"),
    ],
)
def test_a_number_that_is_not_finite_is_named_with_its_place_and_not_written(value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        dumps(value)


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[-Infinity]", "1e999", "[" * 100_000, "{'a': 1}", "01"])
def test_what_is_not_json_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_numbers_of_numpy_and_paths_are_written_as_what_they_stand_for() -> None:
    value = {
        "flag": np.bool_(True),
        "count": np.int64(3),
        "loss": np.float32(0.5),
        "rows": np.arange(3),
        "at": Path("a/b"),
        "kinds": {"b", "a"},
        np.int64(7): (1, 2),
    }
    assert loads(dumps(value)) == {
        "flag": True,
        "count": 3,
        "loss": 0.5,
        "rows": [0, 1, 2],
        "at": "a/b",
        "kinds": ["a", "b"],
        "7": [1, 2],
    }


def test_a_plugins_numbers_that_are_not_finite_become_null() -> None:
    given = {
        "fid": math.nan,
        "rows": np.array([1.0, np.inf]),
        "k": np.int32(5),
        "name": "x",
        "inner": [{"a": -math.inf}],
    }
    assert finite(given) == {"fid": None, "rows": [1.0, None], "k": 5, "name": "x", "inner": [{"a": None}]}


def test_a_value_that_json_does_not_have_is_an_error_that_says_so() -> None:
    with pytest.raises(TypeError, match="a object is not a JSON value"):
        dumps({"a": object()})
