"""Mixtures of two images: what is mixed, by how much, and what of the label is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import LabelledPixels
from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.classifiers.mixup import Mixer, blend, paste
from fgl.plugins.classifiers.options import ClassifierOptions

IMAGES = torch.rand(6, 3, 8, 12, generator=torch.Generator().manual_seed(0))


class Middle:
    """Stands in for a generator of random numbers: the middle of the rectangle."""

    def __init__(self, down: float, across: float) -> None:
        self.place = np.array([down, across])

    def random(self, count: int) -> Any:
        return self.place


def test_nothing_asked_for_gives_the_images_themselves():
    images, partners, share = Mixer(0, 0, 1)(IMAGES)
    assert (images is IMAGES, partners, share) == (True, None, 1.0)


def test_mixup_is_the_weighted_sum_with_the_partner_that_is_named():
    images, partners, share = Mixer(0.4, 0, 3)(IMAGES)
    assert partners is not None
    assert sorted(partners.tolist()) == list(range(6))
    assert 0 < share < 1
    torch.testing.assert_close(images, share * IMAGES + (1 - share) * IMAGES[partners])


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_shares_the_label_by_the_pixels_that_are_left(seed: int):
    images, partners, share = Mixer(0, 1.0, seed)(IMAGES)
    assert partners is not None
    moved = next(row for row in range(6) if partners[row] != row)
    own = (images[moved] == IMAGES[moved]).all(0)
    assert share == pytest.approx(float(own.float().mean()))
    assert torch.equal(images[moved][:, ~own], IMAGES[partners[moved]][:, ~own])


@pytest.mark.parametrize(
    ("middle", "rows", "columns"),
    [((0.5, 0.5), (2, 6), (3, 9)), ((0.0, 0.0), (0, 2), (0, 3)), ((1.0, 0.5), (6, 8), (3, 9))],
)
def test_a_pasted_rectangle_has_the_images_shape_and_is_cut_by_its_edge(middle, rows, columns):
    mixed, share = paste(IMAGES[:1], IMAGES[1:2], 0.75, Middle(*middle))  # type: ignore[arg-type]
    inside = torch.zeros(8, 12, dtype=torch.bool)
    inside[slice(*rows), slice(*columns)] = True
    assert torch.equal(mixed[0][:, inside], IMAGES[1][:, inside])
    assert torch.equal(mixed[0][:, ~inside], IMAGES[0][:, ~inside])
    assert share == pytest.approx(1 - float(inside.float().mean()))


def test_shares_of_one_and_none_are_the_images_and_their_partners():
    rng = np.random.default_rng(0)
    for kind in (blend, paste):
        assert torch.equal(kind(IMAGES, IMAGES.flip(0), 1.0, rng)[0], IMAGES)
    assert torch.equal(blend(IMAGES, IMAGES.flip(0), 0.0, rng)[0], IMAGES.flip(0))


def test_both_take_turns_by_chance_and_equal_seeds_repeat():
    mixer, again = Mixer(1.0, 1.0, 5), Mixer(1.0, 1.0, 5)
    pasted = []
    for _ in range(20):
        images, partners, share = mixer(IMAGES)
        other = again(IMAGES)
        assert torch.equal(images, other[0])
        assert share == other[2]
        assert partners is not None
        moved = next(row for row in range(6) if partners[row] != row)
        pasted.append(bool((images[moved] == IMAGES[moved]).all(0).any()))
    assert 4 < sum(pasted) < 16
    mixer.reseed(5)
    again.reseed(6)
    assert not torch.equal(mixer(IMAGES)[0], again(IMAGES)[0])


def test_training_on_mixtures_learns_and_differs_from_training_on_images():
    pixels = np.zeros((40, 8, 8, 3), np.uint8)
    labels = np.arange(40) % 2
    pixels[labels == 1, :, 4:] = 255
    data = LabelledPixels(pixels, labels)
    shape = {"hidden_sizes": [32], "depths": [1], "embedding_size": 32, "layer_type": "basic"}
    options = ClassifierOptions(
        architecture="resnet",
        config=shape,
        preset="none",
        image_size=16,
        epochs=8,
        batch_size=10,
        lr=0.01,
        optimizer="adamw",
        dtype="fp32",
    )
    context = FitContext(class_names=("left", "right"), seed=1, device="cpu")
    weights = []
    for more in ({}, {"mixup": 0.3}, {"cutmix": 1.0}):
        trained = TransformersClassifier(options.model_copy(update=more)).fit(data, None, context)
        assert (trained.predict(pixels) == labels).all()
        weights.append(trained.state()["classifier.1.weight"])
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    again = TransformersClassifier(options.model_copy(update={"cutmix": 1.0})).fit(data, None, replace(context))
    assert np.array_equal(again.state()["classifier.1.weight"], weights[2])
