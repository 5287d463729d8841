"""The prompt strategy itself. Imported only by runs that select it, so it may import what it likes."""

from __future__ import annotations

from collections import Counter

from fgl import ClientContext, Prompt

from fgl_example_prompts.options import SeasonsOptions


class Seasons:
    """One prompt for each class that the client holds and each season; opens no image."""

    def __init__(self, options: SeasonsOptions) -> None:
        self.options = options

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, then season. The weights of a class sum to the samples that the client holds of it."""
        seasons = len(self.options.seasons)
        return [
            Prompt(class_id, text, negative=self.options.negative_prompt or None, weight=count / seasons)
            for class_id, count in sorted(Counter(context.images.labels.tolist()).items())
            for text in self.texts(context.class_names[class_id])
        ]

    def texts(self, label: str) -> list[str]:
        """What `label` looks like in each season. The label goes in last: one called "{season}" is left alone."""
        return [
            self.options.template.replace("{season}", season).replace("{label}", label)
            for season in self.options.seasons
        ]
