"""Features drawn from Gaussians that clients fitted to theirs.

Source: FedPFT (Beitollahi et al. 2024, arXiv 2402.01862), section 4: parametric models of features of each class, and a
head that is trained on samples of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.generator import ArraySpec, Shard, UploadSchema
from fgl.contracts.product import ArrayBatch, Product
from fgl.plugins._symmetric import lower_triangle, triangle
from fgl.plugins.generators.feature_options import ClassGaussiansOptions
from fgl.plugins.generators.feature_space import FeatureEncoder, FeatureSpaceUser

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Array

MEAN, SPREAD = "feature_mean", "feature_spread"
# Part of the fingerprint: raise it when equal rows and seeds would yield other features.
_METHOD = "fgl class-gaussians 1"
_BATCH = 256


class ClassGaussians(FeatureSpaceUser):
    """See `ClassGaussiansOptions` (contract `Generator`, with `SupportsProduct`)."""

    options: ClassGaussiansOptions

    def __init__(self, options: ClassGaussiansOptions) -> None:
        self.options = options

    def declare(self) -> UploadSchema:
        """feature_mean [n, d] and feature_spread: standard deviations [n, 1] or [n, d], or the packed Cholesky factors
        of covariances [n, t]."""
        sizes = {"spherical": 1, "diagonal": self.width, "full": triangle(self.width)}
        return UploadSchema(
            arrays=(ArraySpec(MEAN, (self.width,)), ArraySpec(SPREAD, (sizes[self.options.covariance],))),
            encoder=self.space_digest(),
        )

    def product(self) -> Product:
        return Product("features", (self.width,), "float32")

    def fingerprint(self) -> str:
        said = json.dumps([_METHOD, self.space_digest(), self.options.covariance], allow_nan=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def encoding(self) -> Mapping[str, object]:
        return {"method": _METHOD, "space": self.space_digest(), "covariance": self.options.covariance}

    def rounding(self, device: str) -> Mapping[str, object]:
        return {}

    def describe(self) -> Mapping[str, object]:
        space = self.feature_space()
        return {
            "model": space.get("model"),
            "license": space.get("license"),
            "covariance": self.options.covariance,
            "features": space,
        }

    def encoder(self, device: str) -> FeatureEncoder:
        return FeatureEncoder("class-gaussians")

    def synthesizer(self, device: str) -> GaussianSynthesizer:
        return GaussianSynthesizer(self.options.covariance, self.width)


class GaussianSynthesizer:
    """Draws on the CPU, whatever the device: one stream of random numbers for each item (contract `Synthesizer`)."""

    def __init__(self, covariance: str, width: int) -> None:
        self._covariance, self._width = covariance, width

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ArrayBatch]:
        """Yield float32 [b, d] in the order of the items."""
        known: dict[int, tuple[Array, Array]] = {}
        for start in range(0, len(shard.items), _BATCH):
            items = shard.items[start : start + _BATCH]
            for row in {item.conditioning for item in items} - set(known):
                known[row] = self._parameters(conditioning, row)
            drawn = [self._draw(*known[item.conditioning], item.seed) for item in items]
            progress(len(items))
            yield ArrayBatch(np.stack(drawn))

    def notes(self) -> Mapping[str, object]:
        return {}

    def _parameters(self, conditioning: Conditioning, row: int) -> tuple[Array, Array]:
        """(mean [d], standard deviations [1] or [d], or Cholesky factor [d, d]) of a row, float64."""
        mean, spread = (np.asarray(conditioning.gather(name, [row])[0], dtype=np.float64) for name in (MEAN, SPREAD))
        return mean, lower_triangle(spread, self._width) if self._covariance == "full" else spread

    def _draw(self, mean: Array, spread: Array, seed: int) -> Array:
        noise = np.random.default_rng(seed).standard_normal(self._width)
        # summed by numpy's own loop: a product of BLAS could round differently in another batch or build
        moved = np.einsum("ij,j->i", spread, noise) if spread.ndim == 2 else spread * noise
        drawn: Array = (mean + moved).astype(np.float32)
        return drawn
