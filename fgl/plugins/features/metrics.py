"""Metrics that compare a set of images with real ones, over points of a feature space.

Shapes: r reference (real) points, m compared points, d dimensions. All is computed in float64 on the CPU.

- Precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2.
- Density and coverage: Naeem et al. 2020 (arXiv 2002.09797), equations 3 and 4.
- KID: Bińkowski et al. 2018 (arXiv 1801.01401); the estimator is torchmetrics'. FID: torchmetrics'.

Balls are closed, as in Kynkäänniemi's equation 1: a point exactly at the radius is inside, so that copies count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from fgl.contracts.arrays import Array, Labels


_CELLS = 2**24  # distances held at once: 128 MB
_BLOCKS, _SMALLEST = 10, 5
_SLACK = 1e-9  # relative: rounding must not move a point on a ball's edge outside of it


class Comparing:
    """The part of an `Extractor` that all spaces with Euclidean distances share."""

    neighbors: int = 5
    """Largest k."""

    def nearest(self, points: Array, others: Array) -> tuple[Array, Labels]:
        return nearest(points, others)

    def compare(self, reference: Array, images: Array, seed: int) -> Mapping[str, object]:
        return compare(reference, images, self.neighbors, seed)


def nearest(points: Array, others: Array) -> tuple[Array, Labels]:
    """For each of `points` [m, d], the distance to the nearest of `others` [r, d], and its position: float64 [m], int64
    [m]."""
    distances, positions = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    for block in _distances(_double(points), _double(others)):
        closest = block.min(dim=1)
        distances.append(closest.values.numpy())
        positions.append(closest.indices.numpy())
    return np.concatenate(distances), np.concatenate(positions)


def compare(reference: Array, images: Array, neighbors: int, seed: int) -> dict[str, object]:
    """All metrics that the numbers of points allow, rounded; None for the others, with the reason in `why`."""
    real, made = _double(reference), _double(images)
    k = min(neighbors, len(real) - 1, len(made) - 1)
    figures: dict[str, object] = {"k": max(k, 0)}
    why: dict[str, str] = {}
    if k >= 1:
        figures |= {name: round(value, 6) for name, value in manifolds(real, made, k).items()}
    else:
        few = f"{len(real)} real and {len(made)} compared images; a neighbor needs two of each"
        for name in ("density", "coverage", "precision", "recall"):
            figures[name], why[name] = None, few
    figures["kid"], figures["kid_se"], reason = kid(real, made, seed)
    if reason:
        why["kid" if figures["kid"] is None else "kid_se"] = reason
    figures["fid"], reason = fid(real, made)
    if reason:
        why["fid"] = reason
    figures["why"] = why
    return figures


def manifolds(real: Tensor, made: Tensor, k: int) -> dict[str, float]:
    """Density, coverage, precision and recall, with balls that reach to the k-th nearest neighbor of their centre."""
    of_real, of_made = radii(real, k), radii(made, k)
    inside, precise = 0, 0
    closest = torch.full((len(real),), torch.inf, dtype=torch.float64)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    start = 0
    for block in _distances(made, real):
        within = block <= of_real
        inside += int(within.sum())
        precise += int(within.any(dim=1).sum())
        closest = torch.minimum(closest, block.min(dim=0).values)
        recalled |= (block <= of_made[start : start + len(block), None]).any(dim=0)
        start += len(block)
    return {
        "density": inside / (k * len(made)),
        "coverage": float((closest <= of_real).double().mean()),
        "precision": precise / len(made),
        "recall": float(recalled.double().mean()),
    }


def radii(points: Tensor, k: int) -> Tensor:
    """Distance from each point to its k-th nearest neighbour, float64 [n], slightly enlarged against rounding."""
    distances, start = [], 0
    for block in _distances(points, points):
        rows = torch.arange(len(block))
        block[rows, start + rows] = torch.inf  # a point is not its own neighbor
        distances.append(block.kthvalue(k, dim=1).values)
        start += len(block)
    return torch.cat(distances) * (1 + _SLACK)


def kid(real: Tensor, made: Tensor, seed: int) -> tuple[float | None, float | None, str]:
    """(KID, its standard error, "" or why one of them is None).

    It is the unbiased estimate over equal numbers of points of both kinds, as many as the smaller set has. The standard
    error comes from the jackknife, which leaves out one of ten blocks of both at a time. If the distributions are
    equal, the statistic is degenerate, and the jackknife overestimates. The usual mean over random subsets uses only
    the pairs within a subset, and its spread is not a standard error, since the subsets overlap.
    """
    from torchmetrics.image.kid import poly_mmd  # seconds of imports, which distances alone do without

    count = min(len(real), len(made))
    if count < 2:
        return None, None, f"{count} image to compare; the estimate needs two of each"
    draw = np.random.default_rng([seed, len(real), len(made)])
    first, second = (points[torch.from_numpy(draw.permutation(len(points))[:count])] for points in (real, made))
    value = round(float(poly_mmd(first, second)), 8)
    blocks = min(_BLOCKS, count // _SMALLEST)
    if blocks < 2:
        return value, None, f"{count} images; an error needs two blocks of {_SMALLEST}"
    block = torch.arange(count) % blocks
    left = torch.stack([poly_mmd(first[block != one], second[block != one]) for one in range(blocks)])
    spread = (left - left.mean()).square().sum() * (blocks - 1) / blocks
    return value, round(float(spread.sqrt()), 8), ""


class _Given(torch.nn.Module):
    """Stands in for torchmetrics' network: the points are features already."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, points: Tensor) -> Tensor:
        return points


def fid(real: Tensor, made: Tensor) -> tuple[float | None, str]:
    """(FID, "" or why it is None).

    It is computed only if both covariances have full rank: the contribution of dimensions that were never seen to vary
    is an artefact of the number of images.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    dimensions = real.shape[1]
    for what, points in (("real", real), ("compared", made)):
        if len(points) <= dimensions:
            return None, (
                f"{len(points)} {what} images for {dimensions} features: a covariance of full rank needs more images "
                "than features"
            )
        # of the points, not of their covariance, whose condition number is the square of theirs
        rank = int(torch.linalg.matrix_rank(points - points.mean(0)))
        if rank < dimensions:
            return None, f"the {what} images vary in {rank} of {dimensions} features only: no covariance of full rank"
    metric = FrechetInceptionDistance(feature=_Given(dimensions)).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(made, real=False)
    return round(float(metric.compute()), 6), ""


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Euclidean distances, some rows at a time."""
    rows = max(1, _CELLS // max(1, len(others)))
    for start in range(0, len(points), rows):
        # differences, not the faster |a|² + |b|² - 2ab, by which copies would be 1e-7 apart
        yield torch.cdist(points[start : start + rows], others, compute_mode="donot_use_mm_for_euclid_dist")


def _double(points: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))
