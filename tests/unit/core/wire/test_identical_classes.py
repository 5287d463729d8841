"""Classes whose prompts become the same numbers are found, wherever they come together."""

from __future__ import annotations

import numpy as np
import pytest

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.core.wire import identical_classes
from fgl.errors import ClassListError
from fgl.plugins.aggregators.options import UnionOptions
from fgl.plugins.aggregators.union import Union
from fgl.plugins.prompts.identical_classes import check_class_names


def rows(*values: float) -> np.ndarray:
    return np.array([[[value] * 3] * 2 for value in values], dtype=np.float32)


def test_a_class_all_of_whose_rows_another_has_is_found() -> None:
    arrays = {"prompt_embeds": rows(1, 2, 1, 2, 3)}
    assert identical_classes.of_arrays(arrays, {}, [0, 0, 1, 1, 1]) == [(0, 1)]
    assert identical_classes.of_arrays(arrays, {}, [0, 1, 2, 0, 1]) == [(0, 2)]
    assert (
        identical_classes.of_arrays({"prompt_embeds": rows(1, 2, 1, 3)}, {}, [0, 0, 1, 1]) == []
    )  # each has one of its own


def test_what_is_shared_by_all_does_not_make_classes_alike() -> None:
    negative = {"negative": rows(9)}
    index = {"negative": np.zeros(2, dtype=np.int32)}
    assert identical_classes.of_arrays({"prompt_embeds": rows(1, 2), **negative}, index, [0, 1]) == []
    assert identical_classes.of_arrays({"prompt_embeds": rows(1, 1), **negative}, index, [0, 1]) == [(0, 1)]


def upload(client: str, value: float, class_id: int) -> ClientUpload:
    return ClientUpload(
        client, 0, "e", {"prompt_embeds": rows(value)}, {}, np.array([class_id]), np.ones(1), ("",), np.array([np.nan])
    )


def test_rows_of_two_clients_are_held_against_each_other() -> None:
    union = Union(UnionOptions())
    together: Conditioning = union.aggregate([upload("a", 1, 0), upload("b", 1, 1)], "g")
    assert identical_classes.of_conditioning(together) == [(0, 1)]
    apart: Conditioning = union.aggregate([upload("a", 1, 0), upload("b", 2, 1)], "g")
    assert identical_classes.of_conditioning(apart) == []


def test_both_classes_are_named() -> None:
    assert "the prompts of 'Cat' and 'cat' become the same numbers" in identical_classes.told(
        [(0, 1)], ["Cat", "cat", "dog"]
    )


@pytest.mark.parametrize("names", [["Cat", "cat"], ["cat", " cat"], ["a  b", "A b"], ["é", "É"]])
def test_names_that_differ_in_case_or_spaces_alone_are_refused(names: list[str]) -> None:
    with pytest.raises(ClassListError, match=r"classes alike: .* differ only in case or spaces"):
        check_class_names([*names, "dog"])


def test_names_that_differ_otherwise_are_fine() -> None:
    check_class_names(["cat", "cats", "big cat", "big-cat", "猫"])
