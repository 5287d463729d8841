"""Class names in the template of their domain: the paper's DomainNet prompts, and a template for other domains."""

from __future__ import annotations

from collections.abc import Sequence

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.plugins.prompts.grouping import group_by_domain
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.options import DomainOptions
from fgl.plugins.prompts.template import DOMAIN, LABEL, fill, phrases


class DomainPrompts:
    """One prompt for each class and domain that the client holds; opens no image."""

    def __init__(self, options: DomainOptions) -> None:
        self.options = options

    def check(self, info: DatasetInfo) -> None:
        """Raise ClassListError if two classes would have the same prompts."""
        check_class_names(info.names_in_prompts)

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, then domain. Weight: the client's samples of that class and domain.

        Raises DataError if the dataset has no domains, a sample has none, or a label has no class name.
        """
        options = self.options
        return [
            Prompt(
                class_id,
                fill(
                    options.templates.get(domain, options.default_template),
                    {LABEL: context.class_names[class_id], DOMAIN: domain},
                ),
                negative=options.negative_prompts.get(domain, options.negative_prompt) or None,
                domain=domain,
                weight=float(len(positions)),
            )
            for (class_id, domain), positions in group_by_domain(context).items()
        ]

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> list[list[list[str]]]:
        """See `PromptStrategy`: one grammar per domain."""
        options = self.options
        return [
            phrases(options.templates.get(domain, options.default_template), {LABEL: [class_names], DOMAIN: [[domain]]})
            for domain in domains
        ]


__all__ = ["DomainPrompts"]
