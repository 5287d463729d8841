"""A chain of upload filters, and filters that do not keep their contract."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from fgl.contracts.component import Component
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.prompts import Prepared, Prompt
from fgl.contracts.upload_filter import FilterContext
from fgl.core.client.filtering import filtered
from fgl.core.registry import Entry
from fgl.core.seeds import filter_seed
from fgl.errors import BrokenPluginError, ConfigError, UploadError

NAMES = ("river", "road")
SCHEMA = UploadSchema((ArraySpec("rows", (3,)),), "e" * 64)
PROMPTS = [Prompt(0, "a river", weight=2.0), Prompt(1, "a road")]


class Filter:
    def __init__(self, work):
        self.work = work

    def apply(self, arrays, indices, prompts, context):
        return self.work(Prepared(prompts, arrays, indices), context)

    def describe(self):
        return {}


def chain(*works, schema=SCHEMA):
    filters = [
        (Entry("upload_filter", Component(f"number-{n}", Filter), "mine", "fgl-mine"), Filter(work))
        for n, work in enumerate(works)
    ]
    given = Prepared(PROMPTS, {} if schema is None else {"rows": np.ones((2, 3), np.float32)})
    return filtered(
        filters, given, schema, NAMES, lambda n: FilterContext("client-00", 0, filter_seed(0, "client-00", 0, n), NAMES)
    )


def test_each_filter_gets_what_the_one_before_it_returned():
    def doubled(given, _):
        return Prepared(given.prompts, {"rows": given.arrays["rows"] * 2})

    def raised(given, _):
        return Prepared(given.prompts, {"rows": given.arrays["rows"] + np.float64(1)})

    np.testing.assert_array_equal(chain(doubled, raised).arrays["rows"], np.full((2, 3), 3, np.float32))
    np.testing.assert_array_equal(chain(raised, doubled).arrays["rows"], np.full((2, 3), 4, np.float32))


def test_each_place_in_the_chain_has_a_seed_of_its_own():
    seeds = []

    def noted(given, context):
        seeds.append(context.seed)
        return given

    chain(noted, noted)
    chain(noted, noted)
    assert len(set(seeds)) == 2
    assert seeds[:2] == seeds[2:]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda given, _: Prepared(given.prompts[1:], given.arrays), "array rows has 2 rows, expected 1"),
        (lambda given, _: Prepared(given.prompts, {"rows": np.ones((3, 3))}), "array rows has 3 rows, expected 2"),
        (lambda given, _: Prepared(given.prompts, {}), "returned no array rows"),
        (lambda given, _: given.arrays, "returned dict, expected fgl.Prepared"),
        (lambda given, _: None, "returned NoneType, expected fgl.Prepared"),
        (lambda given, _: given.arrays["rows"].sort(), "raised ValueError"),
        (lambda given, _: {}["noise"], "raised KeyError: 'noise'"),
        (lambda given, _: Prepared([Prompt(0, "x", weight=-1.0), given.prompts[1]], given.arrays), "has weight -1.0"),
    ],
)
def test_a_filter_that_breaks_its_contract_is_named_with_what_it_did(work, said):
    with pytest.raises(BrokenPluginError) as caught:
        chain(lambda given, _: given, work)
    assert str(caught.value).startswith("upload filter 'number-1' of fgl-mine")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_filter_may_drop_a_class_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO):
        answer = chain(lambda given, _: Prepared(given.prompts[:1], {"rows": given.arrays["rows"][:1]}))
    assert len(answer.prompts) == 1
    assert "client-00: upload filter 'number-0' of fgl-mine left no row of 'road'" in caplog.text


def test_a_filter_that_leaves_nothing_is_an_error():
    with pytest.raises(UploadError, match="left no row of the upload of client-00"):
        chain(lambda given, _: Prepared([], {"rows": np.ones((0, 3))}))


def test_with_texts_a_filter_may_change_prompts_and_has_no_arrays():
    answer = chain(lambda given, _: Prepared(given.prompts[1:], {}), schema=None)
    assert answer.prompts == PROMPTS[1:]
    with pytest.raises(ConfigError, match=r"upload\.codec: got 'text'"):
        chain(lambda given, _: Prepared(given.prompts, {"rows": np.ones((2, 3))}), schema=None)
