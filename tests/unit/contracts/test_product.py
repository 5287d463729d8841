"""Real images become a generator's product in one way, and whatever else they become is the generator's error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fgl.contracts.preparation import Preparation, cropped, square
from fgl.contracts.product import Product, SupportsProduct, features_of
from fgl.contracts.progress import NullProgress
from fgl.errors import BrokenPluginError
from fgl.testing.contracts import DrawnImages

IMAGES = DrawnImages(np.array([0, 1, 1]), None)


class Corner:
    """A generator whose features are the first two pixels of an image, or what is given instead."""

    def __init__(self, instead: Any = None) -> None:
        self.instead = instead

    def product(self) -> Product:
        return Product("corners", (2, 3), "float32")

    def preparation(self) -> Preparation:
        return Preparation(10, 8, 12)

    def feature_space(self) -> dict[str, object]:
        return {}

    def image_features(self, device: str) -> Corner:
        return self

    def features(self, pixels: Any, progress: Any) -> Any:
        assert pixels.shape == (len(pixels), 8, 8, 3)
        return pixels[:, 0, :2].astype(np.float32) if self.instead is None else self.instead


def test_images_are_resized_and_cropped_as_they_are_for_a_test() -> None:
    generator = Corner()
    assert isinstance(generator, SupportsProduct)
    found = features_of(IMAGES, generator, "cpu", NullProgress())
    for index, features in enumerate(found):
        expected = cropped(square(IMAGES.image(index), 10, 8)[None], 10, 8)[0]
        np.testing.assert_array_equal(features, expected[0, :2])


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        (np.zeros((3, 5), np.float32), r"into float32 \[3, 5\]; expected float32 \[3, 2, 3\]"),
        (np.zeros((2, 2, 3), np.float32), r"into float32 \[2, 2, 3\]"),
        (np.zeros((3, 2, 3)), r"into float64 \[3, 2, 3\]"),
        ([[1.0]], "into list"),
        (np.full((3, 2, 3), np.nan, np.float32), "NaN or infinite"),
    ],
    ids=["shape", "count", "dtype", "no array", "nan"],
)
def test_anything_but_the_product_is_the_generators_error(instead: Any, message: str) -> None:
    with pytest.raises(BrokenPluginError, match=message):
        features_of(IMAGES, Corner(instead), "cpu", NullProgress())
