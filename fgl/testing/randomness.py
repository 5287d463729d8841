"""Whether code leaves the process's random numbers alone: two runs in one process must not disturb each other."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def global_state_untouched() -> Iterator[None]:
    """Raises AssertionError where the block draws from, or seeds, the global generators of random, numpy or torch."""
    before = _states()
    yield
    after = _states()
    touched = [name for name, state in before.items() if state != after[name]]
    assert not touched, f"the global random state of {', '.join(touched)} changed; use a generator made from the seed"


def _states() -> dict[str, Any]:
    found: dict[str, Any] = {"random": random.getstate(), "numpy": str(np.random.get_state(legacy=False))}
    if "torch" in sys.modules:
        found["torch"] = bytes(sys.modules["torch"].get_rng_state().numpy())
    return found
