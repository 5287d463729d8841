"""Class names with attributes measured on each image: an instance-level prompt without a captioning model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.plugins.prompts.grouping import group_by_class, group_by_domain
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.image_attributes import VOCABULARY, Attributes, measure, phrase, thumbnail
from fgl.plugins.prompts.options import AttributesOptions
from fgl.plugins.prompts.template import ATTRIBUTES, DOMAIN, LABEL, fill, phrases

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels


Words = tuple[str, ...]


class AttributePrompts:
    """One prompt for each distinct description of a client's images of a class, up to `max_prompts`."""

    def __init__(self, options: AttributesOptions) -> None:
        self.options = options

    def check(self, info: DatasetInfo) -> None:
        """Raises ClassListError if two classes would have the same prompts."""
        check_class_names(info.names_in_prompts)

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class, domain, frequency. The weight of a prompt is the number of images that it stands for.

        Raises DataError if a label has no class name, BadImageError if an image cannot be decoded.
        """
        options = self.options
        named = options.include_domain and context.images.domains is not None
        groups = group_by_domain(context) if named else group_by_class(context)
        measured = self._measure(context)
        held = Counter(context.images.labels.tolist())
        prompts = []
        for (class_id, domain), positions in groups.items():
            values = {LABEL: context.class_names[class_id]}
            if domain is not None:
                values[DOMAIN] = domain
            template = options.template if domain is None else options.domain_template
            seen = Counter(tuple(phrase(measured[position], options.attributes)) for position in positions)
            # The class's prompts are shared among its domains by their samples; each domain keeps at least one.
            limit = max(1, options.max_prompts * len(positions) // held[class_id])
            for words, count in keep_most_frequent(seen, limit).items():
                text = fill(template, {**values, ATTRIBUTES: ", ".join(words)})
                negative = options.negative_prompt or None
                prompts.append(Prompt(class_id, text, negative=negative, domain=domain, weight=float(count)))
        return prompts

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> list[list[list[str]]]:
        """See `PromptStrategy`: one grammar, which has more texts than can be tried."""
        options = self.options
        places: list[list[str]] = []
        for number, name in enumerate(options.attributes):
            places += [[", "]] if number else []
            places += [list(place) for place in VOCABULARY[name]]
        values: dict[str, list[Sequence[str]]] = {LABEL: [class_names], ATTRIBUTES: list(places), DOMAIN: [domains]}
        if domains and options.include_domain:
            return [phrases(options.domain_template, values)]
        return [phrases(options.template, values)]

    def _measure(self, context: ClientContext) -> list[Attributes]:
        with context.progress.track("measure", len(context.images)) as task:

            def thumbnails() -> Iterator[Pixels]:
                for position in range(len(context.images)):
                    yield thumbnail(context.images.image(position))
                    task.advance()

            return measure(thumbnails())


def keep_most_frequent(counts: Counter[Words], limit: int) -> dict[Words, int]:
    """The `limit` most frequent descriptions, most frequent first, with the counts of the others added to them.

    A dropped description counts for the kept one that shares most words with it ("dark green and slate" has two); of
    several, for the most frequent. Ties are resolved alphabetically, so that the order of the images does not matter.
    """
    ranked = sorted(counts, key=lambda words: (-counts[words], words))
    kept = {words: counts[words] for words in ranked[:limit]}
    vocabulary = {words: _split(words) for words in kept}
    for dropped in ranked[limit:]:
        words_of_dropped = _split(dropped)
        # max keeps the first of equals, and `kept` runs from the most frequent on.
        nearest = max(kept, key=lambda words: len(words_of_dropped & vocabulary[words]))
        kept[nearest] += counts[dropped]
    return kept


def _split(words: Words) -> frozenset[str]:
    return frozenset(part for word in words for part in word.split(" and "))


__all__ = ["AttributePrompts", "keep_most_frequent"]
