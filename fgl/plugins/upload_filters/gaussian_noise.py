"""Noise of a stated price on what a client is about to send, with everything else in the upload made public or
noised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.prompts import Prepared, Prompt
from fgl.errors import ConfigError, Problem
from fgl.plugins._symmetric import joined, packed, split, symmetric
from fgl.plugins.upload_filters.options import GaussianNoiseOptions
from fgl.privacy import Release, add_noise, sigma_of

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.contracts.upload_filter import FilterContext

MEAN, SECOND_MOMENT = "feature_mean", "second_moment"
_KEY = "upload.filters.gaussian-noise"
_JOINT = math.sqrt(3) + 1e-6
"""Of counts, sums and second moments, each of which one image moves by 1 at most. The rest is for sums that are
computed back from means: those are exact to 2^-48 of up to 10^7 images."""


class GaussianNoise:
    """The Gaussian mechanism (Dwork and Roth 2014, appendix A; exact price: Balle and Wang 2018), once for an upload.

    A row for every class of the run leaves, whether the client has any of it or not: which classes it has is as private
    as how many. What is noised:

    - moments of features, at the level of images: counts, sums of features / c and sums of x xᵀ / c² as one vector. The
      generator clips each feature vector to norm c (`generator.max_norm`), so one image moves each of the three parts
      by 1 at most, and the whole by √3.
    - rows of any other kind, at the level of clients: the mean row of each class, clipped to `max_norm`, and no counts.
      Without the client all of it would be zeros, so it moves the whole by max_norm √(number of rows) at most.
    """

    def __init__(self, options: GaussianNoiseOptions) -> None:
        self.options = options

    def apply(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        """Raises ConfigError where the sensitivity of what is sent is not known."""
        level = self.options.level
        if {MEAN, SECOND_MOMENT} == set(arrays):
            if level != "image":
                raise _misfit("level", level, "image: of sums over images it is known what one image changes")
            if context.feature_norm is None:
                raise _misfit("", "", "generator.max_norm, to which features are clipped (generator.max_norm=1)")
            return self._moments(arrays, indices, prompts, context, context.feature_norm)
        if level != "client":
            expected = "client: what one image changes in the rows that a prompt strategy writes is not bounded"
            raise _misfit("level", level, expected)
        return self._rows(arrays, indices, prompts, context)

    def _moments(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
        norm: float,
    ) -> Prepared:
        classes, width = len(context.class_names), arrays[MEAN].shape[-1]
        counts, sums = np.zeros(classes), np.zeros((classes, width))
        moments = np.zeros(arrays[SECOND_MOMENT].shape[-1])
        for row, prompt in enumerate(prompts):
            counts[prompt.class_id] += prompt.weight
            sums[prompt.class_id] += prompt.weight * joined(arrays[MEAN][row])
            moments += prompt.weight * joined(arrays[SECOND_MOMENT][indices[SECOND_MOMENT][row]])
        exact = np.concatenate([counts, sums.ravel() / norm, moments / norm**2])
        noised = self._noised(exact, _JOINT, context, "counts, sums and second moments of features")
        # from here on nothing private is read: what no images can have is brought back to what they can
        weights = np.maximum(noised[:classes], 1.0)
        means = noised[classes : classes * (1 + width)].reshape(classes, width) * norm / weights[:, None]
        means *= np.minimum(1, norm / np.maximum(np.linalg.norm(means, axis=1), 1e-300))[:, None]
        between = (means * (weights / weights.sum())[:, None]).T @ means
        within = symmetric(noised[classes * (1 + width) :] * norm**2 / weights.sum(), width) - between
        values, vectors = np.linalg.eigh(within)
        gram = between + (vectors * np.maximum(values, 0)) @ vectors.T
        return Prepared(
            _one_of_each(context.class_names, weights.tolist()),
            {MEAN: np.stack([split(mean) for mean in means]), SECOND_MOMENT: split(packed(gram))[None]},
            {SECOND_MOMENT: np.zeros(classes, np.int32)},
        )

    def _rows(
        self,
        arrays: Mapping[str, Array],
        indices: Mapping[str, Array],
        prompts: Sequence[Prompt],
        context: FilterContext,
    ) -> Prepared:
        if not arrays:
            raise _misfit("", "", "a codec of embeddings: texts cannot be noised")
        classes = len(context.class_names)
        weights, labels = np.array([one.weight for one in prompts]), np.array([one.class_id for one in prompts])
        of_class = np.zeros((classes, len(prompts)))
        of_class[labels, np.arange(len(prompts))] = weights
        of_class /= np.maximum(of_class.sum(axis=1, keepdims=True), 1e-300)
        own: list[Array] = []
        shared: list[Array] = []
        for name, array in arrays.items():
            rows = array.reshape(len(array), -1).astype(np.float64)
            if name not in indices:
                own.append(of_class @ rows)
                continue
            # one row for all: which prompt pointed to which is private
            pointed = weights * (indices[name] >= 0)
            shared.append(pointed @ rows[indices[name]] / max(float(pointed.sum()), 1e-300))
        blocks = [*np.concatenate(own, axis=1), *shared]
        norms = [float(np.linalg.norm(block)) for block in blocks]
        most = self.options.max_norm
        clipped = [block * min(1.0, most / max(norm, 1e-300)) for block, norm in zip(blocks, norms, strict=True)]
        context.note("rows_clipped", sum(norm > most for norm in norms))
        sensitivity = most * math.sqrt(len(blocks)) * (1 + 1e-9)
        noised = self._noised(np.concatenate(clipped), sensitivity, context, "a mean row of each class")
        shapes = {name: array.shape[1:] for name, array in arrays.items()}
        return Prepared(
            _one_of_each(context.class_names, [1.0] * classes), *_unpacked(noised, shapes, indices, context)
        )

    def _noised(self, exact: Array, sensitivity: float, context: FilterContext, what: str) -> Array:
        options = self.options
        sigma = (options.sigma or sigma_of(options.epsilon or 1.0, options.delta)) * sensitivity
        release = Release(sigma, sensitivity, len(exact))
        while options.sigma is None and not release.cost.fits(options.epsilon or 1.0, options.delta):
            sigma *= 1.00001  # what the grid adds
            release = Release(sigma, sensitivity, len(exact))
        context.spend(what, options.level, release.cost)
        return add_noise(np.asarray(exact, dtype=np.float64), sigma)

    def describe(self) -> Mapping[str, object]:
        options = self.options
        return {
            "level": options.level,
            "noise": "discrete Gaussian",
            **({"sigma_by_sensitivity": options.sigma} if options.sigma else {"epsilon": options.epsilon}),
            "delta": options.delta,
            **({"max_norm": options.max_norm} if options.level == "client" else {}),
        }


def _unpacked(
    noised: Array, shapes: Mapping[str, tuple[int, ...]], indices: Mapping[str, Array], context: FilterContext
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(arrays, indices) of the noised vector, within what the generator accepts."""
    classes = len(context.class_names)
    own = {name: math.prod(shape) for name, shape in shapes.items() if name not in indices}
    width, at = sum(own.values()), 0
    made: dict[str, Array] = {}
    table, rest = noised[: classes * width].reshape(classes, width), noised[classes * width :]
    for name, size in own.items():
        made[name], at = table[:, at : at + size].reshape(classes, *shapes[name]), at + size
    for name in shapes:
        if name in indices:
            size = math.prod(shapes[name])
            made[name], rest = rest[:size].reshape(1, *shapes[name]), rest[size:]
    bounds = {} if context.declaration is None else {spec.name: spec.max_abs for spec in context.declaration.arrays}
    return (
        {
            name: np.clip(value, -bounds.get(name, math.inf), bounds.get(name, math.inf)).astype(np.float32)
            for name, value in ((name, made[name]) for name in shapes)
        },
        {name: np.zeros(classes, np.int32) for name in shapes if name in indices},
    )


def _one_of_each(class_names: Sequence[str], weights: Sequence[float]) -> list[Prompt]:
    return [Prompt(class_id, name, weight=weights[class_id]) for class_id, name in enumerate(class_names)]


def _misfit(option: str, got: str, expected: str) -> ConfigError:
    return ConfigError([Problem(f"{_KEY}.{option}" if option else _KEY, got, f"expected {expected}")])
