"""What prompt strategies, generators and aggregators of plugins return is checked where it enters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fgl
from fgl import Prompt
from fgl.contracts.conditioning import unite
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.errors import BrokenPluginError
from fgl.testing.data import client_upload
from tests.helpers.members import member, returning

SOUND = [Prompt(0, "an a", weight=2.0), Prompt(1, "a b")]


def generator(**values: Any) -> Any:
    return member("generator", **values)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None; expected fgl.UploadSchema"),
        (UploadSchema((), "e"), "returned arrays (); expected a tuple of fgl.ArraySpec"),
        (UploadSchema(("x",), "e"), "expected a tuple of fgl.ArraySpec"),
        (UploadSchema((ArraySpec("x", (2,)), ArraySpec("x", (2,))), "e"), "returned two arrays called 'x'"),
        (UploadSchema((ArraySpec("x", (2,)),), ""), "returned encoder ''; expected a fingerprint"),
    ],
)
def test_a_schema_that_is_none_is_named(value: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        generator(declare=value).declare()
    assert "Generator.declare() " in str(caught.value)
    assert said in str(caught.value)


def test_what_a_generator_says_of_itself_may_hold_numbers_of_numpy() -> None:
    given = {"steps": np.int64(4), "scale": np.float32(0.5), "image_size": np.array([8, 8])}
    made = generator(describe=given, encoding=given, rounding=given)
    for said in (made.describe(), made.encoding(), made.rounding("cpu")):
        assert said == {"steps": 4, "scale": 0.5, "image_size": [8, 8]}
        assert type(said["steps"]) is int
    with pytest.raises(BrokenPluginError, match=r"Generator.encoding\(\) returned what is not JSON: scale is nan"):
        generator(encoding={"scale": np.nan}).encoding()
    with pytest.raises(BrokenPluginError, match=r"Generator.describe\(\) returned list; expected a mapping"):
        generator(describe=[1]).describe()


ROWS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None; expected (arrays, indices), two mappings"),
        ({"x": ROWS}, "expected (arrays, indices), two mappings"),
        (({"x": ROWS + np.nan}, {}), "returned NaN or infinite values in x: the encoder overflows"),
        (({"x": ROWS[:1]}, {}), "returned x as [1, 3] for 2 prompts; expected one row a prompt"),
        (({"x": [["a"]]}, {}), "returned x as list of <U1; expected an array of numbers"),
        (({3: ROWS}, {}), "returned an array called '3'"),
        (({"x": ROWS[:1]}, {"x": np.array([0.0, 0.0])}), "returned the indices of x as float64 [2]"),
    ],
)
def test_arrays_that_are_none_are_named(value: Any, said: str) -> None:
    encoder = returning(fgl.Encoder, {"encode": value, "truncated": 0})
    with pytest.raises(BrokenPluginError) as caught:
        generator(encoder=encoder).encoder("cpu").encode(SOUND)
    assert "Encoder.encode() " in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [3, -1, None, 0.5])
def test_a_count_of_cut_prompts_is_one(value: Any) -> None:
    encoder = returning(fgl.Encoder, {"encode": ({}, {}), "truncated": value})
    with pytest.raises(BrokenPluginError, match=r"Encoder.truncated\(\) returned"):
        generator(encoder=encoder).encoder("cpu").truncated(SOUND)


UPLOADS = [client_upload("client-0", 0), client_upload("client-1", 1)]
UNITED = unite(UPLOADS, "generator")
EVERY = len(UNITED)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "returned list; expected fgl.Conditioning"),
        (replace(UNITED, ids=(UNITED.ids[0],) * EVERY), "for several rows; expected each once"),
        (replace(UNITED, ids=UNITED.ids[:-1]), "expected one for each row"),
        (replace(UNITED, weight=np.zeros(EVERY)), "returned weights that are not finite or not above 0"),
        (replace(UNITED, weight=np.full(EVERY, np.nan)), "returned weights that are not finite"),
        (replace(UNITED, class_id=np.full(EVERY, 7)), "returned rows of class 7, which no upload has"),
        (replace(UNITED, row=np.full(EVERY, 99)), "returned row 0 as row 99 of source"),
        (replace(UNITED, source=np.full(EVERY, -1)), "of source -1, which is not there"),
    ],
)
def test_rows_that_are_none_are_named(value: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        member("aggregator", aggregate=value).aggregate(UPLOADS, "generator")
    assert said in str(caught.value)
    assert "aggregator 'bad' of fgl-bad: Aggregator.aggregate() returned" in str(caught.value)


def test_a_sound_conditioning_is_taken() -> None:
    assert member("aggregator", aggregate=UNITED).aggregate(UPLOADS, "generator") is UNITED
