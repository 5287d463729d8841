"""What datasets and partitioners of plugins return is checked where it enters."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgl.contracts.dataset import DatasetInfo, ImageSet
from fgl.errors import BrokenPluginError
from tests.helpers.members import member, returning

INFO = DatasetInfo("drawn", ("a", "b"), (), "0" * 64)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"name": "drawn"}, "returned dict; expected fgl.DatasetInfo"),
        (replace(INFO, class_names=()), "returned no class names"),
        (replace(INFO, class_names=("a", "a")), "returned the class name 'a' twice"),
        (replace(INFO, class_names=("a", 1)), "expected a tuple of texts"),
        (replace(INFO, class_names="ab"), "expected a tuple of texts"),
        (replace(INFO, digest=""), "returned digest ''; expected a text"),
        (replace(INFO, notes=(1,)), "returned notes (1,); expected a tuple of texts"),
    ],
)
def test_a_description_that_is_none_is_named(info: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        member("dataset", info=info).info()
    assert "dataset 'bad' of fgl-bad: Dataset.info() " in str(caught.value)
    assert said in str(caught.value)


def split(**values: Any) -> Any:
    images = returning(ImageSet, {"labels": np.array([0, 1]), "__len__": 2, "name": "x", **values})
    dataset = member("dataset", info=INFO, split=images)
    assert dataset.info() is INFO
    return dataset.split("train")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0, 2]), "returned 2 as the class; expected 0 to 1"),
        (np.array([0, -1]), "returned -1 as the class; expected 0 to 1"),
        (np.array([0.0, 1.0]), "returned float64 [2]; expected whole numbers [2]"),
        (np.array([0, 1, 1]), "returned int64 [3]; expected whole numbers [2]"),
        (np.array(["a", "b"]), "returned ndarray of <U1; expected an array of numbers"),
    ],
)
def test_labels_that_name_no_class_are_named(labels: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        _ = split(labels=labels).labels
    assert f"ImageSet.labels {said}" in str(caught.value)


def test_labels_of_any_whole_numbers_are_taken() -> None:
    for labels in ([0, 1], np.array([0, 1], dtype=np.uint8)):
        taken = split(labels=labels).labels
        assert taken.dtype == np.int64
        assert taken.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("L", (4, 4)), "returned an image of mode L; expected RGB"),
        (np.zeros((4, 4, 3), np.uint8), "returned ndarray; expected a PIL image"),
        (None, "returned NoneType; expected a PIL image"),
    ],
)
def test_images_that_are_not_rgb_are_named(image: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        split(image=image).image(0)
    assert "ImageSet.image() " in str(caught.value)
    assert said in str(caught.value)


def test_domains_of_other_samples_are_named() -> None:
    assert split(domains=["x", "y"]).domains == ["x", "y"]
    assert split(domains=None).domains is None
    with pytest.raises(BrokenPluginError, match="returned 1 domains for 2 samples"):
        _ = split(domains=["x"]).domains


def test_a_split_may_be_absent() -> None:
    assert member("dataset", info=INFO, split=None).split("public") is None


class Moods:
    """A partitioner that draws from what it is not given."""

    def __init__(self) -> None:
        self.calls = itertools.count()

    def partition(self, labels: Any, domains: Any, seed: int) -> Any:
        return {"a": [0], "b": [1]} if next(self.calls) % 2 else {"a": [1], "b": [0]}


def test_a_partitioner_that_differs_from_call_to_call_is_named() -> None:
    from tests.helpers.members import created

    with pytest.raises(BrokenPluginError, match="returned two different partitions for the same samples and seed"):
        created("partition", Moods).partition(np.array([0, 1]), None, 0)

    class Seeded:
        def partition(self, labels: Any, domains: Any, seed: int) -> Any:
            return {"a": np.array(random.Random(seed).sample(range(4), 2))}

    assert list(created("partition", Seeded).partition(np.array([0, 1, 0, 1]), None, 0)) == ["a"]
