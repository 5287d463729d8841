"""Feature spaces: where images are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels, Pixels
    from fgl.contracts.classifier import Classifier, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.progress import Progress


class Extractor(Protocol):
    """A feature space that is ready: images to points, and how two sets of points compare. m images, n points, d."""

    def describe(self) -> Mapping[str, object]:
        """JSON for the report: whose features these are. `space`, `model`, `licence`, `dimensions`, and `commit` or
        `digest` of the weights must be there (both None where there are no weights)."""

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """uint8 [m, h, w, 3] → float32 [m, d]. An image's features do not depend on what stands beside it."""

    def nearest(self, points: Array, others: Array) -> tuple[Array, Labels]:
        """(distance to the nearest of `others`, its position) for each of `points`: float64 [n], int64 [n]."""

    def compare(self, reference: Array, images: Array, seed: int) -> Mapping[str, object]:
        """JSON: how the points `images` compare with real points, `reference`. `density`, `coverage`, `precision`,
        `recall`, `kid`, `kid_se`, `fid`, `k`, and `why`: name → reason for those that are None. seed: of what is
        drawn at random."""


class FeatureSpace(Protocol):
    """A stated model whose features say how near two images are."""

    def learns(self) -> bool:
        """Whether `learn` must be called with real images first."""

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        """What the space consists of where no model of it exists yet, as named arrays for `extractor`: they may cross
        to clients. Not called where the space does not learn."""

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Extractor:
        """state: what `learn` returned, empty where the space does not learn. classifier: the run's, for spaces that
        are made of it. Raises ModelError where there is no such model."""
