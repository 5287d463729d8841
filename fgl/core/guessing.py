"""What a guess would score on the test split, and what follows where a model does not beat it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fgl.core.session import Session

log = logging.getLogger(__name__)


def best_guess(session: Session) -> float:
    """Top-1 of the better of two guesses: any class, or always the most frequent one of the test split."""
    labels, classes = session.split("test").labels, len(session.info.class_names)
    counts = np.bincount(labels, minlength=classes)
    return float(max(1 / max(1, classes), counts.max() / max(1, counts.sum())))


def useless_start(session: Session, top1: float) -> str:
    """A warning where rounds start from a one-shot model that does not beat a guess, "" elsewhere. top1: its score."""
    guess = best_guess(session)
    if top1 > guess:
        return ""
    text = (
        f"rounds start from a one-shot model that is no better than a guess: top-1 {top1:.1%}, and {guess:.1%} for "
        "always the same class. The generator may not know this domain; training from scratch may well do better: "
        "compare with fgl compare --methods fedavg"
    )
    log.warning("%s", text)
    return text
