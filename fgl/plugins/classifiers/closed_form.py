"""Heads that follow from moments of features in closed form; how the data is split over clients does not matter.

Shapes: c classes, d features, n images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import Conditioning
from fgl.errors import DataError
from fgl.plugins._symmetric import Float64, joined, symmetric
from fgl.plugins.classifiers.head_options import AnalyticOptions, GaussianOptions
from fgl.plugins.classifiers.heads import Head, State, check_set, restored, zeros

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import FitContext
    from fgl.contracts.product import LabelledArrays

MEAN, SECOND_MOMENT = "feature_mean", "second_moment"


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over labelled features. counts: [c]. sums: of the features of each class, [c, d]. gram: of x xᵀ over all
    images, [d, d]. All float64."""

    counts: Float64
    sums: Float64
    gram: Float64

    @property
    def mean(self) -> Float64:
        """Of all features, [d]."""
        mean: Float64 = self.sums.sum(axis=0) / self.counts.sum()
        return mean

    @property
    def scatter(self) -> Float64:
        """Sum of (x - mean)(x - mean)ᵀ, [d, d]."""
        scatter: Float64 = self.gram - self.counts.sum() * np.outer(self.mean, self.mean)
        return scatter


def moments_of(data: Conditioning | LabelledArrays, classes: int) -> Moments:
    """Moments of what clients sent, or of features themselves. Raises DataError."""
    return _of_rows(data, classes) if isinstance(data, Conditioning) else _of_features(data, classes)


def _of_features(data: LabelledArrays, classes: int) -> Moments:
    check_set(data, classes, "training set")
    values, labels = np.asarray(data.values, dtype=np.float64), data.labels
    one_hot = np.eye(classes)[labels]
    return Moments(one_hot.sum(axis=0), one_hot.T @ values, values.T @ values)


def _of_rows(rows: Conditioning, classes: int) -> Moments:
    if not len(rows):
        raise DataError("no client has sent moments of features")
    width = rows.sources[0].arrays[MEAN].shape[-1]
    counts, sums = np.zeros(classes), np.zeros((classes, width))
    shared: dict[tuple[int, int], float] = {}
    for position, (class_id, weight) in enumerate(zip(rows.class_id.tolist(), rows.weight.tolist(), strict=True)):
        source, row = int(rows.source[position]), int(rows.row[position])
        upload = rows.sources[source]
        counts[class_id] += weight
        sums[class_id] += weight * joined(np.asarray(upload.arrays[MEAN][row]))
        pointer = int(upload.indices[SECOND_MOMENT][row])
        shared[source, pointer] = shared.get((source, pointer), 0.0) + weight
    total = np.zeros(width * (width + 1) // 2)
    for (source, pointer), weight in sorted(shared.items()):
        total += weight * joined(np.asarray(rows.sources[source].arrays[SECOND_MOMENT][pointer]))
    return Moments(counts, sums, symmetric(total, width))


class _ClosedForm(ABC):
    """What the heads in closed form share. Neither epochs nor seeds, hooks or a state to start from change them."""

    def check(self, context: FitContext) -> None:
        """Raise ModelError if the generator yields no features."""
        zeros(context)

    def fit(self, train: Conditioning | LabelledArrays, validation: LabelledArrays | None, context: FitContext) -> Head:
        """Solve in float64. Raises DataError for moments that are not those of any features."""
        with context.progress.track(context.label, 1) as task:
            state = self._solve(moments_of(train, len(context.class_names)))
            task.advance()
        if not all(np.isfinite(array).all() for array in state.values()):
            raise DataError("the clients' moments give a head with NaN or infinite weights; reject those at fault")
        return Head(context.class_names, state, state)

    def initial(self, context: FitContext) -> Head:
        state = zeros(context)
        return Head(context.class_names, state, state)

    def restore(self, state: Mapping[str, Array], context: FitContext) -> Head:
        kept = restored(state, context)
        return Head(context.class_names, kept, kept)

    @abstractmethod
    def _solve(self, moments: Moments) -> State:
        """The head that these moments determine."""


class AnalyticHead(_ClosedForm):
    """Ridge regression with an intercept that is not penalized.

    AFL (He et al. 2024, arXiv 2405.16240, equation 5) without their intermediate per-client solutions: with S the
    scatter of all features and M the sums of features of each class around the mean, W = (S + λI)⁻¹ Mᵀ.
    """

    def __init__(self, options: AnalyticOptions) -> None:
        self.options = options

    def _solve(self, moments: Moments) -> State:
        scatter, width = moments.scatter, len(moments.mean)
        penalty = self.options.ridge * max(float(np.trace(scatter)) / width, 1e-12)
        centered = moments.sums - moments.counts[:, None] * moments.mean
        weight = _solved(scatter + penalty * np.eye(width), centered.T).T
        bias = moments.counts / moments.counts.sum() - weight @ moments.mean
        return _state(weight, bias)


class GaussianHead(_ClosedForm):
    """Linear discriminant analysis, or naive Bayes with shared variances (FedCGS, arXiv 2503.06962, section 3.2).

    A class that no client holds gets a score below that of every other class.
    """

    def __init__(self, options: GaussianOptions) -> None:
        self.options = options

    def _solve(self, moments: Moments) -> State:
        options, held = self.options, moments.counts > 0
        counts = np.where(held, moments.counts, 1.0)
        means = moments.sums / counts[:, None]
        within = moments.gram - (moments.sums.T / counts) @ moments.sums
        covariance = within / moments.counts.sum()
        width = len(covariance)
        average = max(float(np.trace(covariance)) / width, 1e-12)
        if options.covariance == "diagonal":
            covariance = np.diag(np.diag(covariance))
        covariance = (1 - options.shrinkage) * covariance + options.shrinkage * average * np.eye(width)
        weight = _solved(covariance, means.T).T
        priors = counts / counts[held].sum() if options.priors == "counts" else np.full(len(counts), 1 / held.sum())
        bias = np.log(priors) - 0.5 * np.einsum("cd,cd->c", weight, means)
        lowest = -1e6
        return _state(np.where(held[:, None], weight, 0.0), np.where(held, bias, lowest))


def _solved(matrix: Float64, right: Float64) -> Float64:
    """matrix⁻¹ right, of a matrix that is positive definite if it comes from features. Raises DataError."""
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "the clients' second moments are not those of any features (their sum is not positive definite): a client "
            "sent something else, or the features of an image are constant; raise the ridge or shrinkage"
        ) from error
    solution: Float64 = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
    return solution


def _state(weight: Float64, bias: Float64) -> State:
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


__all__ = ["AnalyticHead", "GaussianHead"]
