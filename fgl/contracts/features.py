"""Feature spaces: the spaces in which images are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress


class Extractor(Protocol):
    """A feature space that is ready to use: it maps images to points, and compares two sets of points.

    Shapes: m images, n points, d dimensions.
    """

    def describe(self) -> Mapping[str, object]:
        """JSON for the report that identifies the features.

        It must hold `space`, `model`, `license`, `dimensions`, and `commit` or `digest` of the weights (both None if
        the space has no weights).
        """

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """uint8 [m, h, w, 3] → float32 [m, d]. An image's features must not depend on the other images."""

    def nearest(self, points: Array, others: Array) -> tuple[Array, Labels]:
        """For each of `points`, the distance to the nearest of `others` and its position: float64 [n], int64 [n]."""

    def compare(self, reference: Array, images: Array, seed: int) -> Mapping[str, object]:
        """Compare the points of synthetic images with those of real images.

        Args:
            reference: Points of real images, [n, d].
            images: Points of the images to judge, [n, d].
            seed: Seed of everything that is drawn at random.

        Returns: JSON: `density`, `coverage`, `precision`, `recall`, `kid`, `kid_se`, `fid`, `k`, and `why`: name →
            reason, for each of them that is None.
        """


class FeatureSpace(Protocol):
    """A stated model whose features measure how near two images are."""

    def learns(self) -> bool:
        """Whether `learn` must be called with real images first."""

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        """Learn the space from real images, and return it as named arrays for `extractor`.

        The arrays may cross to clients. Called only if `learns()` is true.
        """

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Extractor:
        """Load the space.

        Args:
            state: What `learn` returned; empty if the space does not learn.
            classifier: The run's classifier, for spaces that are derived from it.
            context: Class names, device and seed of the run.

        Raises ModelError if the model does not exist.
        """
