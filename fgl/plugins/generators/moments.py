"""Class means and second moments of features, from which closed-form heads follow. Nothing is synthesized.

Sources: AFL (He et al. 2024, arXiv 2405.16240) for the second moments, FedCGS (Guan et al. 2025, arXiv 2503.06962) for
counts, class means and a pooled covariance; both follow from the same upload.
"""

from __future__ import annotations

from collections.abc import Mapping

from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.product import Product
from fgl.errors import ModelError
from fgl.plugins._symmetric import triangle
from fgl.plugins.generators.feature_options import MomentsOptions
from fgl.plugins.generators.feature_space import FeatureEncoder, FeatureSpaceUser

MEAN, SECOND_MOMENT = "feature_mean", "second_moment"
_METHOD = "fgl moments 1"
# Features of images are of the order of 1 to 100; squares of them must fit, and nothing that overflows in a sum.
_MAX_ABS = 1e8


class Moments(FeatureSpaceUser):
    """See `MomentsOptions` (contract `Generator`, with `SupportsProduct`)."""

    def __init__(self, options: MomentsOptions) -> None:
        self.options = options

    def declare(self) -> UploadSchema:
        """feature_mean [n, 2, d]: of the client's images of the row's class. second_moment [m, 2, t], shared by all
        rows of a client: the mean of x xᵀ over all of its images, a packed triangle. Weighted by the rows' samples,
        the first sum to the class sums and the second to the Gram matrix. Both are float64, as pairs of float32."""
        dtypes = ("float32",)
        return UploadSchema(
            arrays=(
                ArraySpec(MEAN, (2, self.width), dtypes, max_abs=_MAX_ABS),
                ArraySpec(SECOND_MOMENT, (2, triangle(self.width)), dtypes, shared=True, max_abs=_MAX_ABS),
            ),
            encoder=self.space_digest(),
        )

    def product(self) -> Product:
        return Product("moments", (self.width,), "float32", synthesized=False)

    def fingerprint(self) -> str:
        return self.space_digest()

    def encoding(self) -> Mapping[str, object]:
        return {"method": _METHOD, "space": self.space_digest()}

    def rounding(self, device: str) -> Mapping[str, object]:
        return {}

    def describe(self) -> Mapping[str, object]:
        space = self.feature_space()
        return {"model": space.get("model"), "license": space.get("license"), "features": space}

    def encoder(self, device: str) -> FeatureEncoder:
        return FeatureEncoder("moments")

    def synthesizer(self, device: str) -> object:
        """Raises ModelError: nothing is drawn from moments."""
        raise ModelError("generator 'moments' synthesizes nothing; the classifier is fitted to the moments themselves")
