"""What a probe's figures say about a run, as a rule of thumb; what to do where the generator does not know a domain."""

from __future__ import annotations

import math

from fgl.core.report.intervals import wilson
from fgl.core.report.probe import ProbeFigures
from fgl.core.wire.replies import ProbeScores

UNKNOWN, WEAK, KNOWN = "unknown", "weak", "known"
WITHOUT = ("--methods", "fedavg,local,centralized", "--rounds", "10")
"""Of `fgl compare`: methods that need no generator."""
_QUARTER = 0.25


def level(probe: ProbeFigures) -> str:
    """What the figures say of a run, see `level_of`."""
    return level_of(probe.all_clients, probe.chance)


def level_of(scores: ProbeScores, chance: float) -> str:
    """By the share of the clients' images whose nearest class mean of pictures is their own class's.

    Unknown where a guess may do as well: within two standard errors of it on so many images. Weak below a quarter of
    the way from a guess to all of them. Weak too where the pictures cover less than a quarter of the images that other
    real images cover: where one class is most of the data, pictures that are alike and nearest to it recognize most of
    the images. chance: the share that a guess recognizes."""
    recognized = scores.recognized
    if recognized is None or recognized <= chance + 2 * math.sqrt(chance * (1 - chance) / max(1, scores.reference)):
        return UNKNOWN
    return WEAK if recognized < chance + _QUARTER * (1 - chance) or _is_apart(scores) else KNOWN


def _is_apart(scores: ProbeScores) -> bool:
    made, real = scores.made.coverage, scores.real.coverage
    return made is not None and real is not None and made < _QUARTER * real


def advice(scores: ProbeScores, chance: float, run: str, compare: str) -> list[str]:
    """Lines for a person, what to do last. scores: over all clients. run, compare: commands on the same data."""
    one = scores.recognized
    figures = "no image was recognized"
    if one is not None:
        bounds = wilson(round(one * scores.reference), scores.reference)
        figures = (
            f"{one:.0%} recognized, {bounds.low:.0%} to {bounds.high:.0%} by {scores.reference:,} images, where a "
            f"guess gives {chance:.0%}"
        )
    reached = level_of(scores, chance)
    if reached == KNOWN:
        return [f"go on with: {run}"]
    ways = [
        "  every way, measured: docs/unknown-domain.md",
        "  another generator:   the same command with --generator sd21, or one trained on such images",
        "  weights of your own: --generator stable-diffusion --set generator.model=FOLDER (docs/generators.md)",
        f"  no generator:        {compare}",
    ]
    if reached == WEAK:
        covered = " Hardly an image has a picture near it (coverage)." if _is_apart(scores) else ""
        head = f"the generator knows little of this domain: {figures}.{covered} Expect a weak classifier; other ways:"
        return [head, *ways, f"or go on with: {run}"]
    return [
        f"the generator does not know this domain: its pictures are no better than guessing ({figures}). A run would "
        "train a classifier on them. Instead:",
        *ways,
    ]
