"""What a strategy returned, checked where it enters."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompts import Prepared, Prompt
from fgl.core.client.prepared import check_counts, checked_arrays, checked_prompts, prepared
from fgl.errors import BrokenPluginError

NAMES = ("river", "road", "sea")
WHOSE = "prompt strategy 'mine' of fgl-mine"
SCHEMA = UploadSchema(
    (ArraySpec("rows", (2, 3), max_abs=50.0), ArraySpec("negative", (3,), shared=True, optional=True)),
    "e" * 64,
    guided=("negative",),
    guidance_scale=3.0,
)
PROMPTS = [Prompt(0, "a river", weight=2.0), Prompt(2, "the sea"), Prompt(2, "a storm")]


def arrays(**changes):
    draw = np.random.default_rng(0)
    return {"rows": draw.standard_normal((3, 2, 3)), "negative": draw.standard_normal((2, 3)), **changes}


def index(*rows):
    return {"negative": np.array(rows)}


def test_numbers_of_numpy_become_plain_ones_that_json_can_hold():
    given = Prompt(np.int64(2), np.str_("the sea"), weight=np.float32(0.5), guidance_scale=np.float64(2))
    (prompt,) = checked_prompts([given], NAMES, WHOSE)
    assert prompt == Prompt(2, "the sea", weight=0.5, guidance_scale=2.0)
    assert [type(value) for value in asdict(prompt).values() if value is not None] == [int, str, float, float]
    json.dumps(asdict(prompt))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "returned NoneType, expected a list of fgl.Prompt"),
        (["a river"], "prompt 0 is str, expected fgl.Prompt"),
        ([replace(PROMPTS[0], class_id=3)], "prompt 0 has class_id 3, expected a class id from 0 to 2"),
        ([replace(PROMPTS[0], class_id=1.5)], "class_id 1.5"),
        ([replace(PROMPTS[0], class_id=True)], "class_id True"),
        ([replace(PROMPTS[0], weight=0)], "weight 0, expected a positive number of samples"),
        ([replace(PROMPTS[0], weight=float("nan"))], "weight nan"),
        ([replace(PROMPTS[0], weight="2")], "weight '2'"),
        ([PROMPTS[0], replace(PROMPTS[0], text=None)], "prompt 1 has text of type NoneType, expected text"),
        ([replace(PROMPTS[0], negative=7)], "negative of type int, expected text or None"),
        ([replace(PROMPTS[0], guidance_scale=float("inf"))], "guidance_scale inf"),
    ],
)
def test_what_is_no_prompt_is_an_error_that_names_the_component(answer, said):
    with pytest.raises(BrokenPluginError) as caught:
        checked_prompts(answer, NAMES, WHOSE)
    assert said in str(caught.value)
    assert WHOSE in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 0, 1, 2, 2], "no prompt for class 'road', of which the client holds 1 sample "),
        ([0, 0], "a prompt for class 'sea', of which the client holds no sample"),
        ([0, 0, 0, 2, 2], "prompts for class 'river' whose weights sum to 2; the client holds 3 samples of it"),
    ],
)
def test_a_forgotten_class_and_weights_that_do_not_sum_name_the_strategy_and_the_class(labels, said):
    with pytest.raises(BrokenPluginError) as caught:
        check_counts(PROMPTS, np.array(labels), NAMES, WHOSE)
    assert said in str(caught.value)
    assert str(caught.value).startswith(WHOSE)


def test_shares_of_a_sample_may_be_summed_in_float32():
    thirds = [Prompt(1, f"road {n}", weight=float(np.float32(1 / 3))) for n in range(3)]
    check_counts(thirds, np.array([1]), NAMES, WHOSE)


def test_arrays_become_float32_and_rows_that_no_prompt_points_to_are_left_out():
    given = arrays(rows=np.ones((3, 2, 3), np.float16), negative=np.arange(12, dtype=np.int64).reshape(4, 3))
    kept, pointers = checked_arrays(PROMPTS, given, index(3, 1, 3), SCHEMA, WHOSE)
    assert {name: array.dtype.name for name, array in kept.items()} == {"rows": "float32", "negative": "float32"}
    np.testing.assert_array_equal(kept["negative"], [[3, 4, 5], [9, 10, 11]])
    assert pointers["negative"].tolist() == [1, 0, 1]
    assert pointers["negative"].dtype == np.int32


def test_an_optional_array_that_no_row_has_is_left_out():
    off = [replace(prompt, guidance_scale=1.0) for prompt in PROMPTS]
    kept, pointers = checked_arrays(off, arrays(), index(-1, -1, -1), SCHEMA, WHOSE)
    assert (set(kept), pointers) == ({"rows"}, {})


@pytest.mark.parametrize(
    ("given", "indices", "said"),
    [
        ([], {}, "returned arrays of type list, expected a mapping"),
        (
            arrays(latents=np.ones(3)),
            index(0, 1, 1),
            "the array 'latents', which the generator does not declare (rows,",
        ),
        ({"negative": np.ones((1, 3))}, index(0, 0, 0), "returned no array rows, which the generator declares"),
        (arrays(rows=np.ones((2, 2, 3))), index(0, 1, 1), "array rows has 2 rows, expected 3, one for each prompt"),
        (arrays(rows=np.ones((3, 3, 2))), index(0, 1, 1), "array rows has shape [3, 3, 2], expected [n, 2, 3]"),
        (arrays(rows=np.full((3, 2, 3), "x")), index(0, 1, 1), "array rows has dtype <U1, expected float32"),
        (arrays(rows=np.full((3, 2, 3), np.nan)), index(0, 1, 1), "array rows holds NaN or infinite values"),
        (arrays(rows=np.full((3, 2, 3), 1e300)), index(0, 1, 1), "array rows holds NaN or infinite values"),
        (arrays(rows=np.full((3, 2, 3), -51)), index(0, 1, 1), "holds 51; the generator accepts magnitudes up to 50"),
        (arrays(), {}, "array negative is shared by rows, and has no index"),
        (arrays(), index(0, 1), "its index is int64 [2], expected int32 [3], one for each prompt"),
        (arrays(), index(0, 1, 2), "its index points outside -1..1"),
        (arrays(), {"rows": np.zeros(3, int)}, "an index of 'rows', which is not a shared array"),
        (arrays(), index(0, -1, 0), "row 1 has a guidance scale of 3 and no negative"),
        ({"rows": np.ones((3, 2, 3))}, {}, "row 0 has a guidance scale of 3 and no negative"),
    ],
)
def test_arrays_that_do_not_fit_are_an_error_that_names_the_component(given, indices, said):
    with pytest.raises(BrokenPluginError) as caught:
        checked_arrays(PROMPTS, given, indices, SCHEMA, WHOSE)
    assert said in str(caught.value)
    assert WHOSE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_filter_returns_is_checked_in_the_same_way():
    answer = prepared(Prepared(PROMPTS, arrays(), index(0, 1, 1)), SCHEMA, NAMES, WHOSE)
    assert answer.arrays["rows"].shape == (3, 2, 3)
    with pytest.raises(BrokenPluginError, match=r"returned list, expected fgl\.Prepared"):
        prepared(PROMPTS, SCHEMA, NAMES, WHOSE)
