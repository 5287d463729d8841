"""Gaussians fitted to features: one by its moments, several by expectation maximization (Dempster et al. 1977).

Shapes: n points, d features, k Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fgl.plugins._symmetric import Float64, packed

_ITERATIONS = 50
_TOLERANCE = 1e-4
_FEWEST = 4
"""Points that a Gaussian of a mixture takes at least, on average: fewer describe points and not a distribution."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """One Gaussian of a mixture. share: of the points, in (0, 1]. mean: [d]. spread: standard deviation [1] or [d], or
    the packed Cholesky factor of the covariance."""

    share: float
    mean: Float64
    spread: Float64


def fit_mixture(points: Float64, components: int, kind: str, floor: float, rng: np.random.Generator) -> list[Gaussian]:
    """Fit up to `components` Gaussians. points: [n, d], one at least. kind: spherical, diagonal or full. floor:
    smallest variance of a feature."""
    count = max(1, min(components, len(points) // _FEWEST))
    weights = np.ones((len(points), 1)) if count == 1 else _responsibilities(points, count, floor, rng)
    shares = weights.sum(axis=0)
    kept = np.flatnonzero(shares > 1e-6 * len(points))
    total = float(shares[kept].sum())
    return [_gaussian(points, weights[:, index], float(shares[index]) / total, kind, floor) for index in kept]


def _gaussian(points: Float64, weights: Float64, share: float, kind: str, floor: float) -> Gaussian:
    weights = weights / weights.sum()
    mean: Float64 = weights @ points
    centered = points - mean
    if kind == "full":
        covariance = (centered * weights[:, None]).T @ centered + floor * np.eye(points.shape[1])
        return Gaussian(share, mean, packed(np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)))
    variances: Float64 = weights @ centered**2 + floor
    return Gaussian(share, mean, np.sqrt(variances if kind == "diagonal" else variances.mean(keepdims=True)))


def _responsibilities(points: Float64, count: int, floor: float, rng: np.random.Generator) -> Float64:
    """[n, k]: how far each point belongs to each Gaussian of a diagonal mixture. Full covariances are then measured
    with these: their own EM takes more points than a client has."""
    means = _spread_out(points, count, rng)
    variances = np.tile(points.var(axis=0) + floor, (count, 1))
    shares = np.full(count, 1 / count)
    before = -np.inf
    for _ in range(_ITERATIONS):
        densities = np.stack(
            [
                np.log(share) - 0.5 * (np.log(variance) + (points - mean) ** 2 / variance).sum(axis=1)
                for share, mean, variance in zip(shares, means, variances, strict=True)
            ],
            axis=1,
        )
        highest = densities.max(axis=1, keepdims=True)
        weights: Float64 = np.exp(densities - highest)
        sums = weights.sum(axis=1, keepdims=True)
        weights /= sums
        likelihood = float((highest + np.log(sums)).mean())
        if likelihood - before < _TOLERANCE:
            break
        before = likelihood
        totals = np.maximum(weights.sum(axis=0), 1e-12)
        shares = totals / totals.sum()
        means = weights.T @ points / totals[:, None]
        variances = np.maximum(weights.T @ points**2 / totals[:, None] - means**2, 0) + floor
    return weights


def _spread_out(points: Float64, count: int, rng: np.random.Generator) -> Float64:
    """Starting means as k-means++ draws them (Arthur and Vassilvitskii 2007): [k, d]."""
    chosen = [points[rng.integers(len(points))]]
    while len(chosen) < count:
        nearest = np.min([((points - one) ** 2).sum(axis=1) for one in chosen], axis=0)
        total = nearest.sum()
        chosen.append(points[rng.choice(len(points), p=nearest / total if total > 0 else None)])
    return np.stack(chosen)
