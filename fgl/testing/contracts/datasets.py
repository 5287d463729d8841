"""What every dataset must hold to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fgl.contracts.dataset import Dataset, ImageSet
from fgl.errors import DataError
from fgl.testing.randomness import global_state_untouched

SPLITS = ("train", "test", "public")
_MOST = 6  # images of a split that are decoded


class DatasetContract:
    """A dataset says what it is, and gives the same labelled RGB images to whoever asks, in whatever order.

    Set `empty`, too, where there can be a place without data: a function that makes a dataset over it."""

    empty: Callable[[], Dataset] | None = None

    @staticmethod
    def make() -> Dataset:
        raise NotImplementedError("set `make = staticmethod(lambda: YourDataset(YourOptions()))` in the test class")

    def splits(self) -> Iterator[tuple[str, ImageSet]]:
        dataset = self.make()
        for name in SPLITS:
            images = dataset.split(name)
            if images is not None:
                yield name, images

    def test_it_says_what_it_is(self) -> None:
        info = self.make().info()
        assert isinstance(info.name, str)
        assert info.name.strip()
        assert info.class_names, "a dataset without classes"
        assert all(isinstance(name, str) and name.strip() for name in info.class_names), info.class_names
        assert len(set(info.class_names)) == len(info.class_names), "two classes of one name"
        assert list(info.domains) == sorted(set(info.domains)), f"domains {info.domains} are not sorted"
        assert len(info.names_in_prompts) == len(info.class_names), "prompt_names: expected one a class, or none at all"
        for texts in (info.class_names, info.prompt_names, info.domains, info.skipped, info.notes):
            assert isinstance(texts, tuple), f"expected a tuple of texts, got {texts!r}"
            assert all(isinstance(text, str) for text in texts), texts

    def test_its_digest_is_a_sha256(self) -> None:
        assert re.fullmatch("[0-9a-f]{64}", self.make().info().digest), "digest: expected 64 hex digits"

    def test_what_is_read_again_is_the_same(self) -> None:
        one, other = self.make(), self.make()
        assert one.info() == other.info()
        for name in SPLITS:
            ours, theirs = one.split(name), other.split(name)
            assert (ours is None) == (theirs is None), f"the split {name} is not always there"
            if ours is None or theirs is None:
                continue
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            for index in range(min(len(ours), _MOST)):
                assert ours.name(index) == theirs.name(index)
                assert ours.image(index).tobytes() == theirs.image(index).tobytes(), ours.name(index)

    def test_it_has_images_to_train_on_or_to_test_on(self) -> None:
        assert any(len(images) for name, images in self.splits() if name != "public")

    def test_there_is_no_split_of_any_other_name(self) -> None:
        assert self.make().split("no-such-split") is None

    def test_every_sample_has_a_label_that_names_a_class(self) -> None:
        classes = len(self.make().info().class_names)
        for name, images in self.splits():
            labels = images.labels
            assert labels.dtype == np.int64, f"labels of {name} are {labels.dtype}, expected int64"
            assert labels.shape == (len(images),), f"{labels.shape} labels for {len(images)} images of {name}"
            assert ((labels >= 0) & (labels < classes)).all(), f"a label of {name} beyond {classes} classes"

    def test_every_sample_has_a_domain_or_none_has(self) -> None:
        known = set(self.make().info().domains)
        for name, images in self.splits():
            if not known:
                assert images.domains is None, f"domains of {name}, and info() lists none"
            elif images.domains is not None:
                assert len(images.domains) == len(images)
                assert set(images.domains) <= known, f"domains of {name} that info() does not list"

    def test_images_are_rgb(self) -> None:
        for _, images in self.splits():
            for index in range(min(len(images), _MOST)):
                image = images.image(index)
                assert image.mode == "RGB", f"{images.name(index)} is {image.mode}"
                assert min(image.size) > 0

    def test_an_image_is_the_same_whatever_was_read_before(self) -> None:
        for _, images in self.splits():
            places = list(range(min(len(images), _MOST)))
            straight = [images.image(index).tobytes() for index in places]
            back = [images.image(index).tobytes() for index in reversed(places)]
            assert straight == back[::-1]

    def test_every_sample_has_a_name(self) -> None:
        for split, images in self.splits():
            for index in range(min(len(images), _MOST)):
                name = images.name(index)
                assert isinstance(name, str)
                assert name.strip(), f"the sample at {index} of {split} has no name"

    def test_reading_leaves_global_random_numbers_alone(self) -> None:
        with global_state_untouched():
            self.make().info()
            for _, images in self.splits():
                images.image(0)

    def test_nothing_to_read_is_a_data_error(self) -> None:
        if self.empty is None:
            pytest.skip("no `empty` is set")
        with pytest.raises(DataError):
            type(self).empty().info()  # type: ignore[misc]
