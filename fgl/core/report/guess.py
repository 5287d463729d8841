"""What a guess would score on the test split, and what follows where a model does not beat it."""

from __future__ import annotations

import logging

from fgl.core.report.scores import ChanceLevels

log = logging.getLogger(__name__)


def best_guess(levels: ChanceLevels) -> float:
    """Top-1 of the better guess; its shares are rounded as scores are: a model that always says one class is as good as
    the guess, not better."""
    return levels.best_guess


def useless_start(levels: ChanceLevels, top1: float) -> str:
    """A warning where rounds start from a one-shot model that does not beat a guess, "" elsewhere. top1: its score."""
    guess = best_guess(levels)
    if top1 > guess:
        return ""
    text = (
        f"rounds start from a one-shot model that is no better than a guess: top-1 {top1:.1%}, and {guess:.1%} for "
        "always the same class. The generator may not know this domain, and training from scratch may well do better: "
        "rounds.start=auto lets the clients tell"
    )
    log.warning("%s", text)
    return text
