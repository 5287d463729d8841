"""What a run says that it is doing: its parts in order, and why each is there.

Stages of a baseline look like those of the run itself: without a heading, a second `synthesize` is taken for a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fgl.contracts.progress import Announcing

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress


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
