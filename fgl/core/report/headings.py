"""What a run says that it is doing: its parts in order, and why each is there.

Stages of a baseline look like those of the run itself: without a heading, a second `synthesize` is taken for a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fgl.contracts.progress import Announcing
from fgl.core.config.schema import PROMPTS_BASELINE

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress


BASELINES = {
    "class-list": "what the server could have made alone, from the class names",
    "fedavg": "one round of FedAvg on the same split, and each client's model before averaging",
    "public": "the classifier trained on real images of the kind that the generator was trained on",
    "centralized": "the classifier trained on all clients' real images together, as a ceiling",
}
"""What each baseline answers. `local` comes with `fedavg`: the same models."""


def baseline_heading(name: str) -> str:
    """The part in which a baseline is made: local models come with FedAvg."""
    if name.startswith(PROMPTS_BASELINE):
        strategy = name.removeprefix(PROMPTS_BASELINE)
        return f"baseline {name}: a second run, with {strategy} prompts, for a row beside this one's"
    name = "fedavg" if name == "local" else name
    return f"baseline {name}: {BASELINES[name]}"


class Headings:
    """Says each part's heading once, when it begins.

    parts: headings in the order in which the run comes to them; none where it is itself a part of another run, which
    has said so."""

    def __init__(self, progress: Progress, parts: Iterable[str]) -> None:
        self._progress, self._parts = progress, list(dict.fromkeys(parts))
        self._begun: set[str] = set()

    def begin(self, part: str) -> None:
        if part in self._begun or part not in self._parts:
            return
        self._begun.add(part)
        if isinstance(self._progress, Announcing):
            place = self._parts.index(part) + 1
            self._progress.heading(f"part {place} of {len(self._parts)}: {part}")
