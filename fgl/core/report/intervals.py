"""95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def student(values: Sequence[float]) -> dict[str, float | None]:
    """mean, and low and high of its confidence interval by Student's t; no interval from a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    from scipy.stats import t

    factor = float(t.ppf((1 + LEVEL) / 2, len(values) - 1))
    half = factor * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def wilson(count: int, total: int) -> dict[str, float | int | None]:
    """count, total, their share, and low and high of its score interval (Wilson 1927, J. Am. Stat. Assoc. 22, p. 209);
    all three None of nothing."""
    if not total:
        return {"count": count, "total": 0, "share": None, "low": None, "high": None}
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    share = count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # at the ends the bound is 0 or 1 exactly, which the difference of two roundings is not
    low, high = 0.0 if not count else max(0.0, middle - half), 1.0 if count == total else min(1.0, middle + half)
    return {"count": count, "total": total, "share": share, "low": low, "high": high}
