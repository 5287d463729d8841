"""One prompt: a row of an upload, before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of one client."""

    class_id: int
    """Class of the images that it describes."""

    text: str
    """What the images should show."""

    negative: str | None = None
    """What they should not show. None: no negative prompt."""

    domain: str | None = None
    """Domain of the images, or None if the prompt states none."""

    weight: float = 1.0
    """How many samples it stands for. Positive."""

    guidance_scale: float | None = None
    """Overrides the generator's guidance scale. None: the generator's own."""
