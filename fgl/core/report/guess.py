"""What a guess would score on the test split, and what follows where a model does not beat it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


def best_guess(test_set: Mapping[str, Any]) -> float:
    """Top-1 of the better of two guesses: any class, or always the most frequent one. test_set: see `metrics.about`,
    whose shares are rounded as scores are: a model that always says one class is as good as the guess, not better."""
    return float(max(test_set["chance"], test_set["majority"]["share"]))


def useless_start(test_set: Mapping[str, Any], top1: float) -> str:
    """A warning where rounds start from a one-shot model that does not beat a guess, "" elsewhere. top1: its score."""
    guess = best_guess(test_set)
    if top1 > guess:
        return ""
    text = (
        f"rounds start from a one-shot model that is no better than a guess: top-1 {top1:.1%}, and {guess:.1%} for "
        "always the same class. The generator may not know this domain; training from scratch may well do better: "
        "compare with fgl compare --methods fedavg"
    )
    log.warning("%s", text)
    return text
