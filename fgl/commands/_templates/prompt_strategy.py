"""A prompt strategy: how a client describes its images. Here by their class, and whether they are dark or bright."""

from __future__ import annotations

from collections import Counter

import numpy as np
from fgl import ClientContext, Options, Prompt
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `prompt_strategy:`."""

    template: str = Field("a {light} picture of {label}", description="Text with {label} and {light}.")
    threshold: int = Field(110, ge=0, le=255, description="Mean gray value below which an image is dark.")


class Mine:
    """Runs at the client, so it may look at the images; what it returns is encoded and leaves the client."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """The weights of a class sum to the samples that the client holds of it."""
        counts: Counter[tuple[int, str]] = Counter()
        with context.progress.track("look", len(context.images)) as task:
            for index, label in enumerate(context.images.labels.tolist()):
                gray = float(np.asarray(context.images.image(index).convert("L")).mean())
                counts[label, "dark" if gray < self.options.threshold else "bright"] += 1
                task.advance()
        return [
            Prompt(label, self._text(context.class_names[label], light), weight=float(count))
            for (label, light), count in sorted(counts.items())
        ]

    def _text(self, label: str, light: str) -> str:
        # the label goes in last: one that holds "{light}" is left alone
        return self.options.template.replace("{light}", light).replace("{label}", label)
