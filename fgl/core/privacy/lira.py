"""Membership inference by likelihood ratio (LiRA), and its figures: formulas over numbers, no model and no image.

Carlini et al. 2022, "Membership Inference Attacks From First Principles" (arXiv 2112.03570): the online attack, section
V, algorithm 1; several queries as in section V-C; one variance for all samples where shadow models are few, section
VI. The threshold on the loss is that of Yeom et al. 2018 (arXiv 1709.01604), section 3.

Shape legend: s shadow models, n samples, q queries of a sample (itself, mirrored), c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.core.report.audit_figures import AttackFigures
from fgl.core.report.intervals import student

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgl.contracts.arrays import Array, Labels

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]


RATES = (0.1, 0.01, 0.001)
"""False-positive rates at which true-positive rates are given."""
FEWEST = 4
"""Shadow models that an attack takes: one pair to attack, one to learn from."""
OWN_VARIANCE = 64
"""Shadow models of each kind from which on every sample has a variance of its own."""
# Log-odds of float32 logits are known no better than this; equal models must not be told apart by what is rounded.
_LEAST = 1e-5
# From one false positive in ten thousand on; beyond, no audit of this kind has the samples.
GRID = np.concatenate([[0.0], np.logspace(-4, 0, 121)])
"""False-positive rates of a drawn curve."""


def divide(strata: Labels, shadows: int, seed: int) -> Mask:
    """Who is a member of which shadow model's training set: bool [s, n]. strata: int64 [n], such as client and class.

    Shadow models come in pairs, 2k and 2k + 1, of complementary halves: of each stratum one has half and the other the
    rest (of an odd number, one sample more by lot). So each sample is in exactly half of the sets. Raises ValueError
    for an odd number, or one below FEWEST."""
    if shadows < FEWEST or shadows % 2:
        raise ValueError(f"{shadows} shadow models; expected an even number, {FEWEST} or more")
    members = np.zeros((shadows, len(strata)), dtype=bool)
    groups = [np.flatnonzero(strata == one) for one in np.unique(strata).tolist()]
    for pair in range(shadows // 2):
        draw = np.random.default_rng([seed, pair, 4])
        for rows in groups:
            half = (len(rows) + int(draw.integers(2))) // 2
            members[2 * pair, draw.permutation(rows)[:half]] = True
        members[2 * pair + 1] = ~members[2 * pair]
    return members


def log_odds(logits: Array, labels: Labels) -> Floats:
    """log(p / (1 - p)) of the probability p that softmax gives the true class: float64 [n] of [n, c], c at least 2.

    Carlini et al., equation 3, computed as the true class's logit less the logarithm of the sum of the exponentials of
    the others: 1 - p does not cancel, however sure the model is."""
    values = np.array(logits, dtype=np.float64)
    rows = np.arange(len(values))
    own = values[rows, labels]
    values[rows, labels] = -np.inf
    peak = values.max(axis=1)
    found: Floats = own - (peak + np.log(np.exp(values - peak[:, None]).sum(axis=1)))
    return found


def loss(odds: Floats) -> Floats:
    """Cross entropy, nats, of the log-odds of the true class."""
    return np.logaddexp(0.0, -odds)


def ratios(odds: Floats, members: Mask, target: int) -> Floats:
    """LiRA's score of each sample for one shadow model as the target: log-likelihood as a member less that as a
    non-member, mean over queries, float64 [n]. odds: [s, n, q]; members: bool [s, n], as `divide` draws them.

    The normal distributions come from the other pairs. The target's own counterpart is left out with it: so there are
    as many models with as without the sample, whether or not it is a member. With the counterpart there would be one
    more of the kind that the target is not, whose mean is the surer one, and an attack on a model that leaks nothing
    would come out below chance."""
    others = [one for one in range(len(odds)) if one // 2 != target // 2]
    inside = members[others][:, :, None]
    count = len(others) // 2
    seen = odds[target]
    scores = []
    for part in (inside, ~inside):
        values = odds[others]
        # sums over as many numbers in the same order: equal models have equal means to the last bit
        mean = np.where(part, values, 0.0).sum(axis=0) / count
        squares = np.where(part, (values - mean) ** 2, 0.0).sum(axis=0)
        deviation = np.sqrt(_variance(squares, count))
        scores.append(-0.5 * ((seen - mean) / deviation) ** 2 - np.log(deviation))
    found: Floats = (scores[0] - scores[1]).mean(axis=1)
    return found


def _variance(squares: Floats, count: int) -> Floats:
    """Of [n, q] sums of squared deviations from means over `count` values; one for all samples of a query where there
    are few values, pooled within samples. From a single value each, there is no variance to be had: 1."""
    if count < 2:
        return np.ones_like(squares)
    own = squares / (count - 1)
    if count < OWN_VARIANCE:
        own = np.broadcast_to(own.mean(axis=0), own.shape)
    return np.maximum(own, _LEAST**2)


def curve(scores: Floats, members: Mask) -> tuple[Floats, Floats]:
    """(false-positive rates, true-positive rates) of "score at least t" for every t, from (0, 0) to (1, 1), rates of
    the first strictly rising: of several thresholds with as many false positives, that with most true ones counts."""
    order = np.argsort(-scores, kind="stable")
    inside = members[order]
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores are told apart by no threshold
    true, false = np.cumsum(inside)[last], np.cumsum(~inside)[last]
    rates = np.concatenate([[0.0], false / max(1, int((~members).sum()))])
    hits = np.concatenate([[0.0], true / max(1, int(members.sum()))])
    highest = np.append(np.diff(rates) > 0, True)
    return rates[highest], hits[highest]


def rate_at(found: tuple[Floats, Floats], rates: Sequence[float] | Floats) -> Floats:
    """True-positive rates of a curve at false-positive rates: between two thresholds along the straight line, which is
    what choosing one of the two by lot has. Equal scores give the false-positive rate itself."""
    return np.asarray(np.interp(np.asarray(rates, dtype=np.float64), *found))


def area(scores: Floats, members: Mask) -> float:
    """Area under the curve: the chance that a member's score is above a non-member's, equal ones by half."""
    from scipy.stats import rankdata

    inside, outside = int(members.sum()), int((~members).sum())
    ranks = rankdata(scores)[members].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def balanced(scores: Floats, members: Mask, threshold: float) -> float:
    """Balanced accuracy of "above the threshold is a member"; one at the threshold is right by half."""
    said = np.where(scores == threshold, 0.5, scores > threshold)
    return float((said[members].mean() + (1 - said[~members]).mean()) / 2)


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """An attack on one target."""

    tpr: list[float]
    """True-positive rates at RATES."""
    auc: float
    """Area under the curve."""
    balanced: float
    """Balanced accuracy."""
    curve: Floats
    """True-positive rates at GRID."""


def attack(odds: Floats, members: Mask, target: int) -> dict[str, TargetFigures]:
    """Attack → its figures and curve on one target: `lira`, and `loss`, the threshold on the loss. odds: [s, n, q].

    Balanced accuracies are at thresholds that were not chosen by looking at the target: likelihood ratio 1, and the
    mean loss of the members of the other pairs' models (of the sample itself, not mirrored)."""
    inside = members[target]
    own = loss(odds[target, :, 0])
    others = [one for one in range(len(odds)) if one // 2 != target // 2]
    usual = float(np.mean([loss(odds[one, :, 0])[members[one]].mean() for one in others]))
    found = {}
    for name, scores, threshold in (("lira", ratios(odds, members, target), 0.0), ("loss", -own, -usual)):
        line = curve(scores, inside)
        found[name] = TargetFigures(
            tpr=rate_at(line, RATES).tolist(),
            auc=area(scores, inside),
            balanced=balanced(scores, inside, threshold),
            curve=rate_at(line, GRID),
        )
    return found


def measure(odds: Floats, members: Mask) -> dict[str, list[TargetFigures]]:
    """Attack → its figures on each shadow model in turn as the target. odds: float64 [s, n, q]."""
    each = [attack(odds, members, target) for target in range(len(odds))]
    return {name: [one[name] for one in each] for name in ("lira", "loss")}


def summarize(each: Sequence[TargetFigures], non_members: int) -> AttackFigures:
    """Means over targets, each with its interval (`student`); tpr by rate, None where the non-members are too few to
    have one false positive; curve: means at the rates of GRID. non_members: fewest of any target."""
    return AttackFigures(
        auc=student([one.auc for one in each]),
        balanced=student([one.balanced for one in each]),
        tpr={
            f"{rate:g}": student([one.tpr[place] for one in each]) if rate * non_members >= 1 else None
            for place, rate in enumerate(RATES)
        },
        curve=np.mean([one.curve for one in each], axis=0).round(6).tolist(),
    )


def difference(each: Sequence[TargetFigures], other: Sequence[TargetFigures]) -> AttackFigures:
    """Figures of the one less those of the other, target by target: the same members, and so paired."""
    pairs = list(zip(each, other, strict=True))
    return AttackFigures(
        auc=student([one.auc - two.auc for one, two in pairs]),
        balanced=student([one.balanced - two.balanced for one, two in pairs]),
        tpr={
            f"{rate:g}": student([one.tpr[place] - two.tpr[place] for one, two in pairs])
            for place, rate in enumerate(RATES)
        },
    )
