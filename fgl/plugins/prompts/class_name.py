"""The paper's class-level prompt: made from the class name alone."""

from __future__ import annotations

from collections.abc import Sequence

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.plugins.prompts.grouping import count_classes
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.options import ClassNameOptions
from fgl.plugins.prompts.template import LABEL, fill, phrases


class ClassName:
    """One prompt for each class that the client holds and each template; opens no image."""

    def __init__(self, options: ClassNameOptions) -> None:
        self.options = options

    def check(self, info: DatasetInfo) -> None:
        """Raise ClassListError if two classes would have the same prompts."""
        check_class_names(info.names_in_prompts)

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, then template. Weight: the client's samples of the class ÷ number of templates.

        Raises DataError if a label has no class name.
        """
        templates = self.options.templates
        return [
            Prompt(
                class_id,
                fill(template, {LABEL: context.class_names[class_id]}),
                negative=self.options.negative_prompt or None,
                weight=count / len(templates),
            )
            for class_id, count in count_classes(context).items()
            for template in templates
        ]

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> list[list[list[str]]]:
        """See `PromptStrategy`: one grammar per template."""
        return [phrases(template, {LABEL: [class_names]}) for template in self.options.templates]


__all__ = ["ClassName"]
