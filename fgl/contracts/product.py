"""Products: what a generator yields and a classifier is trained on. Images, unless both say otherwise.

Shapes: n items of a set, b of a batch, m images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fgl.errors import BrokenPluginError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.dataset import ImageSet
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.progress import Progress


IMAGES = "images"
"""The kind of pictures: uint8 [height, width, 3]. Other kinds are names of the plugin authors' choosing; the built-in
ones are `features` and `moments`."""


@dataclass(frozen=True, slots=True)
class Product:
    """One item of what a generator yields."""

    kind: str = IMAGES
    """A classifier accepts it by this name (`Component.accepts`)."""

    shape: tuple[int, ...] = ()
    """Shape of one item, without the batch dimension."""

    dtype: str = "uint8"
    """numpy dtype of its elements."""

    synthesized: bool = True
    """False: nothing is drawn from the rows that clients sent. The classifier is fitted to the Conditioning itself, and
    `Generator.synthesizer` is never called."""


@dataclass(frozen=True, slots=True)
class ArrayBatch:
    """A batch of items that are not images."""

    values: Array
    """[b, *shape], of the product's shape and dtype."""

    rejected: tuple[int, ...] = ()
    """Positions of items that must not be kept; they are requested again, with the next draw of their item."""


@dataclass(frozen=True, slots=True)
class LabelledArrays:
    """Items that are not images, with their labels: what a classifier of features is trained on."""

    values: Array
    """[n, *shape]."""

    labels: Labels
    """Class ids, int64 [n]."""

    def __len__(self) -> int:
        return len(self.labels)


class ImageFeatures(Protocol):
    """Turns real images into what a classifier of the generator's product reads."""

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """uint8 [m, h, w, 3] → [m, *shape], of the same shape and dtype whatever the images. An image's features must
        not depend on the other images."""


@runtime_checkable
class SupportsProduct(Protocol):
    """A generator whose product is not images.

    Real images (the test split, the clients' own in rounds and baselines) reach the classifier as features, through the
    same `ImageFeatures` at the server and at each client.
    """

    def product(self) -> Product:
        """What it yields. Loads no weights."""

    def preparation(self) -> Preparation:
        """How real images are resized and cropped before they are turned into features."""

    def image_features(self, device: str) -> ImageFeatures:
        """Load what turns images into features. Called at the server, and at clients. Raises ModelError."""

    def feature_space(self) -> Mapping[str, object]:
        """JSON that identifies the features, with the digest of all weights: equal values mean equal features of equal
        images. It belongs into `UploadSchema.encoder` too, so that clients and server cannot differ."""


def shape_of(product: Product) -> str:
    """A product in words, for messages: "features of float32 [192]"."""
    return f"{product.kind} of {product.dtype} {list(product.shape)}" if product.shape else product.kind


def features_of(
    images: ImageSet, generator: SupportsProduct, device: str, progress: Progress, label: str = "features"
) -> Array:
    """Real images as a classifier of the generator's product takes them: [n, *shape]. The one way from images to
    features, at the server and at clients, in a prompt strategy and in training.

    Raises BrokenPluginError if the generator turns images into anything but its product.
    """
    import numpy as np

    from fgl.contracts.preparation import cropped, square

    how, product = generator.preparation(), generator.product()
    pixels = np.empty((len(images), how.crop, how.crop, 3), dtype=np.uint8)
    with progress.track(label, len(images)) as task:
        for index in range(len(images)):
            resized = square(images.image(index), how.resize, how.crop)
            pixels[index] = cropped(resized[None], how.resize, how.crop)[0]
            task.advance()
    values = generator.image_features(device).features(pixels, progress)
    whose, expected = type(generator).__name__, (len(images), *product.shape)
    if not isinstance(values, np.ndarray) or values.shape != expected or values.dtype != np.dtype(product.dtype):
        made = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
        raise BrokenPluginError(
            f"{whose}.image_features turned {len(images)} images into {made}; expected {product.dtype} "
            f"{list(expected)}, for its product is {shape_of(product)}"
        )
    if not np.isfinite(values).all():
        raise BrokenPluginError(f"{whose}.image_features gave NaN or infinite values")
    return values
