"""Datasets that break one promise each."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from fgl.contracts.dataset import DatasetInfo
from fgl.testing.contracts import DatasetContract
from fgl.testing.data import DrawnImages


class Sound:
    """Ten drawn images of two classes to train on."""

    facts = DatasetInfo(name="drawn", class_names=("a", "b"), domains=(), digest="0" * 64)

    def info(self):
        return self.facts

    def images(self):
        return DrawnImages(np.arange(10, dtype=np.int64) % 2, None)

    def split(self, name):
        return self.images() if name == "train" else None


def other(**changes):
    """With other facts."""
    return type("Other", (Sound,), {"facts": replace(Sound.facts, **changes)})


def pictures(**members):
    """With images that have other members."""
    return type("Other", (Sound,), {"images": lambda self: type("Images", (Drawn,), members)()})


class Drawn(DrawnImages):
    def __init__(self):
        super().__init__(np.arange(10, dtype=np.int64) % 2, None)


class RefuseTwoClassesOfOneName(DatasetContract):
    refused_by = "test_it_says_what_it_is"
    make = other(class_names=("a", "a"))


class RefuseDomainsOutOfOrder(DatasetContract):
    refused_by = "test_it_says_what_it_is"
    make = other(domains=("sketch", "photo"))


class RefuseDigestOfNothing(DatasetContract):
    refused_by = "test_its_digest_is_a_sha256"
    make = other(digest="1")


class RefuseImagesAtRandom(DatasetContract):
    refused_by = "test_what_is_read_again_is_the_same"

    @staticmethod
    def make():
        seed = random.SystemRandom().randrange(1 << 30)

        class Random(Sound):
            def images(self):
                return replace(super().images(), seed=seed)

        return Random()


class RefuseNoImages(DatasetContract):
    refused_by = "test_it_has_images_to_train_on_or_to_test_on"
    make = type("Empty", (Sound,), {"split": lambda self, name: None})


class RefuseSplitOfAnyName(DatasetContract):
    refused_by = "test_there_is_no_split_of_any_other_name"
    make = type("Same", (Sound,), {"split": lambda self, name: self.images()})


class RefuseLabelsBeyondTheClasses(DatasetContract):
    refused_by = "test_every_sample_has_a_label_that_names_a_class"
    make = other(class_names=("a",))


class RefuseLabelsOfAnotherType(DatasetContract):
    refused_by = "test_every_sample_has_a_label_that_names_a_class"
    make = type("Bytes", (Sound,), {"images": lambda self: DrawnImages(np.zeros(10, np.uint8), None)})


class RefuseUnlistedDomains(DatasetContract):
    refused_by = "test_every_sample_has_a_domain_or_none_has"
    make = type("Unlisted", (Sound,), {"images": lambda self: DrawnImages(np.zeros(10, np.int64), ["photo"] * 10)})


class RefuseGrey(DatasetContract):
    refused_by = "test_images_are_rgb"
    make = pictures(image=lambda self, index: Drawn.image(self, index).convert("L"))


class RefuseImagesThatTakeTurns(DatasetContract):
    refused_by = "test_an_image_is_the_same_whatever_was_read_before"

    @staticmethod
    def make():
        read = []

        class Turning(Drawn):
            def image(self, index):
                read.append(index)
                return super().image(len(read) % 10)

        return type("Turns", (Sound,), {"images": lambda self: Turning()})()


class RefuseNameless(DatasetContract):
    refused_by = "test_every_sample_has_a_name"
    make = pictures(name=lambda self, index: "")


class RefuseGlobalSeed(DatasetContract):
    refused_by = "test_reading_leaves_global_random_numbers_alone"
    make = pictures(image=lambda self, index: random.seed(index) or Drawn.image(self, index))


class RefuseSilenceAboutNothing(DatasetContract):
    refused_by = "test_nothing_to_read_is_a_data_error"
    make = Sound
    empty = Sound
