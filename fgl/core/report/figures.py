"""Figures of synthetic images beside real ones, as the report holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.core.store.typed import JsonObject, json_field, json_rest

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The feature space that images are compared in."""

    model: str
    """Whose features these are."""
    commit: str | None = None
    """Of the model on the Hub; null where it has none."""
    digest: str | None = None
    """sha256 of the weights; null where there are none."""
    license: str
    """Of the model."""
    dimensions: int
    """How many features an image has."""
    name: str
    """Of the component."""
    learnt_on: str | None
    """The images that the space was trained on, in words; null where it needs no training."""
    classifier: str | None = json_field(omit_none=True)
    """Name of the classifier whose features these are. Not there where the space needs no training."""
    details: JsonObject = json_rest()
    """What the plugin says beside that, as keys of this object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How images compare with real ones, the reference. A figure is null where it cannot be computed."""

    coverage: float | None
    """Share of the reference images that have one of the images as near as a real neighbor."""
    density: float | None
    """How many neighborhoods of reference images an image lies in, divided by k."""
    precision: float | None
    """Share of the images that lie in the neighborhood of a reference image."""
    recall: float | None
    """Share of the reference images that lie in the neighborhood of an image."""
    kid: float | None
    """Kernel inception distance, 0 for equal distributions."""
    kid_se: float | None
    """Standard error of `kid`."""
    fid: float | None
    """Fréchet distance, 0 for equal distributions, too large for few images."""
    k: int
    """How many neighbors a neighborhood has."""
    why: dict[str, str]
    """Figure that is null → why."""
    details: JsonObject = json_rest()
    """What the plugin says beside that, as keys of this object."""

    def of(self, name: str) -> float | None:
        """A figure by its name."""
        value: float | None = getattr(self, name)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Distances from images to their nearest real image, in the feature space."""

    min: float
    """The smallest."""
    p01: float
    """1 % are smaller."""
    p05: float
    """5 % are smaller."""
    median: float
    """Half are smaller."""

    def of(self, name: str) -> float:
        """A quantile by its name."""
        value: float = getattr(self, name)
        return value


QUANTILES = {"p01": 0.01, "p05": 0.05, "median": 0.5}


def quantiles_of(values: Array) -> Distances:
    """Quantiles of distances, rounded. values: float64 [n]."""
    quantiles = {name: round(float(np.quantile(values, at)), 6) for name, at in QUANTILES.items()}
    return Distances(min=round(float(values.min()), 6), **quantiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """How near synthetic images come to real ones, beside how near other real images come."""

    synthetic: Distances
    """Of the synthetic images."""
    held_out: Distances
    """Of the held-out real images."""
    closer: float
    """Share of synthetic images that are nearer to a real one than all but 1 % of the held-out ones are."""
    closer_held_out: float
    """Share of the held-out images that are: 1 %, or what so few of them allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityCounts:
    """How many images were compared."""

    synthetic: int
    """Synthetic images that there are."""
    compared: int
    """Synthetic images of these that were compared."""
    held_out: int
    """Held-out real images."""
    reference: int
    """Real images that both were compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothFigures:
    """The same figures of two sets of images, against the same reference."""

    synthetic: Figures
    """Of the synthetic images."""
    held_out: Figures
    """Of as many held-out real images: the yardstick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassQuality:
    """Quality of the images of one class."""

    counts: QualityCounts
    """How many images were compared."""
    synthetic: Figures | None = json_field(omit_none=True)
    """Of the synthetic images. Not there where too few images can be compared."""
    held_out: Figures | None = json_field(omit_none=True)
    """Of the held-out real images. Not there where `synthetic` is not."""
    nearest: Nearest | None = json_field(omit_none=True)
    """Distances. Not there where `synthetic` is not."""
    why: str | None = json_field(omit_none=True)
    """Why the class was not compared. Not there where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The synthetic set beside real images."""

    space: Space
    """The feature space."""
    real: str
    """Split of the real images: `train`, `public` or `test`."""
    real_is: str
    """What that split is, in words."""
    counts: QualityCounts
    """How many images were compared."""
    overall: BothFigures
    """Figures over all classes."""
    nearest: Nearest
    """Distances over all classes."""
    per_class: dict[str, ClassQuality]
    """Class → its figures."""
    synthetic_digest: str
    """Of the synthetic set that was measured."""
    distances: str
    """File of the distances, image by image, relative to the run directory."""
