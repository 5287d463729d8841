"""Many prompts per class from its name alone: by a grammar, or by a language model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.plugins.prompts.budget import fit_budget
from fgl.plugins.prompts.grammar import describe
from fgl.plugins.prompts.grouping import count_classes
from fgl.plugins.prompts.identical_classes import check_class_names
from fgl.plugins.prompts.options import DiversifiedOptions
from fgl.plugins.prompts.template import DETAILS, LABEL, fill

if TYPE_CHECKING:
    from fgl.plugins.prompts.text_model import Writer


log = logging.getLogger(__name__)


class Diversified:
    """The same prompts at every client that holds a class, so that equal rows of many clients are one conditioning."""

    def __init__(self, options: DiversifiedOptions) -> None:
        self.options = options
        self._writer: tuple[str, Writer] | None = None
        # (class name, device) → its prompts, and how many of them came from the grammar
        self._written: dict[tuple[str, str], tuple[list[str], int]] = {}

    def check(self, info: DatasetInfo) -> None:
        """Raise ClassListError if two classes have the same name, and ModelError if the model is on this machine and
        cannot write. Loads no weights, and asks no Hub."""
        check_class_names(info.names_in_prompts)
        if self.options.model is not None:
            from fgl.plugins.prompts.model_loading import WRITER, found_here
            from fgl.plugins.prompts.text_model import check

            folder = found_here(self.options.model, self.options.revision, WRITER)
            if folder is not None:
                check(self.options, folder)

    def prompts(self, context: ClientContext) -> list[Prompt]:
        """In order of class. Weight: the client's samples of the class ÷ the number of its prompts.

        Raises DataError if a label has no class name, ModelError if the model cannot be used."""
        held = count_classes(context)
        prompts = []
        with context.progress.track("write prompts", len(held), "classes") as task:
            for class_id, count in held.items():
                texts, added = self._texts(context.class_names[class_id], context.device)
                if added:
                    context.note("prompts_by_grammar", added)
                if len(texts) < self.options.prompts_per_class:
                    context.note("prompts_too_few", self.options.prompts_per_class - len(texts))
                prompts += [
                    Prompt(class_id, text, negative=self.options.negative_prompt or None, weight=count / len(texts))
                    for text in texts
                ]
                task.advance()
        return fit_budget(prompts, self.options, context)

    def grammar(self, class_names: Sequence[str], domains: Sequence[str]) -> list[list[list[str]]]:
        """See `PromptStrategy`: the texts themselves, which are determined by the options; none if a model writes."""
        if self.options.model is not None:
            return []
        return [[[text for label in class_names for text in self._texts(label, "cpu")[0]]]]

    def _texts(self, label: str, device: str) -> tuple[list[str], int]:
        """The prompts of a class: a function of options and label, apart from the rounding of a model on a device."""
        if (label, device) not in self._written:
            self._written[label, device] = self._write(label, device)
        return self._written[label, device]

    def _write(self, label: str, device: str) -> tuple[list[str], int]:
        options = self.options
        wanted = options.prompts_per_class
        seed = f"{options.seed}/diversified/{label}"
        written: list[str] = []
        if options.model is not None:
            instruction = fill(options.instruction, {LABEL: label})
            written = self._load(device).write(instruction, wanted, seed)
        texts = {_normal(text): text for text in (self._fill(label, details) for details in written)}
        by_model = len(texts)
        if by_model < wanted:
            digest = hashlib.sha256(seed.encode()).digest()
            random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            parts = [options.views, options.light, options.settings, options.composition, *options.more.values()]
            # as many as wanted in total: those that the model has already written are skipped
            for text in (self._fill(label, details) for details in describe(parts, wanted, random)):
                if len(texts) < wanted:
                    texts.setdefault(_normal(text), text)
        if options.model is not None and by_model < wanted:
            log.warning(
                "%s wrote %d distinct prompts of the %d wanted for a class; the grammar wrote %d more; a higher "
                "temperature or another instruction may help",
                options.model,
                by_model,
                wanted,
                len(texts) - by_model,
            )
        elif len(texts) < wanted:
            log.warning("the grammar has %d prompts per class, and %d are wanted; add phrases", len(texts), wanted)
        return list(texts.values()), 0 if options.model is None else len(texts) - by_model

    def _fill(self, label: str, details: str) -> str:
        return fill(self.options.template, {LABEL: label, DETAILS: details})

    def _load(self, device: str) -> Writer:
        from fgl.plugins.prompts.model_loading import WRITER, find
        from fgl.plugins.prompts.text_model import Writer  # imports torch, which the grammar does not need

        if self._writer is None or self._writer[0] != device:
            folder = find(str(self.options.model), self.options.revision, WRITER)
            self._writer = (device, Writer(self.options, folder, device))
        return self._writer[1]


def _normal(text: str) -> str:
    """Equal for two prompts that differ only in case, punctuation or spacing."""
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split())


__all__ = ["Diversified"]
