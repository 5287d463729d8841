"""95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over models or seeds and its confidence interval by Student's t."""

    mean: float
    """The mean."""
    low: float | None
    """Lower bound; null where there is a single value."""
    high: float | None
    """Upper bound; null where there is a single value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of a count and its score interval (Wilson 1927, J. Am. Stat. Assoc. 22, p. 209)."""

    count: int
    """How many."""
    total: int
    """Of how many."""
    share: float | None
    """count / total; null where there is nothing to count."""
    low: float | None
    """Lower bound; null where `share` is."""
    high: float | None
    """Upper bound; null where `share` is."""


def student(values: Sequence[float]) -> Interval:
    """Mean and interval by Student's t; no interval from a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean=mean, low=None, high=None)
    from scipy.stats import t

    factor = float(t.ppf((1 + LEVEL) / 2, len(values) - 1))
    half = factor * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def wilson(count: int, total: int) -> Share:
    """A share and its interval; null where there is nothing to count."""
    if not total:
        return Share(count=count, total=0, share=None, low=None, high=None)
    from scipy.stats import binomtest

    bounds = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return Share(count=count, total=total, share=count / total, low=float(bounds.low), high=float(bounds.high))
