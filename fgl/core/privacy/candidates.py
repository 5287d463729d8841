"""Texts that an embedding may be of: a dictionary, or what prompt strategies can write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fgl.contracts.prompts import SupportsGrammar, spells
from fgl.core.config.defaults import DEFAULTS
from fgl.core.report.audit_figures import Dictionary
from fgl.errors import ConfigError, FGLError, Problem
from fgl.io.files import read_text

if TYPE_CHECKING:
    from fgl.contracts.dataset import DatasetInfo
    from fgl.contracts.generator import Generator
    from fgl.contracts.progress import Progress
    from fgl.contracts.prompts import Grammar
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager


class Attacker(Protocol):
    """What an attacker knows, and works with: a session, or what a client has of the configuration that all share."""

    @property
    def config(self) -> RunConfig: ...

    @property
    def manager(self) -> PluginManager: ...

    @property
    def info(self) -> DatasetInfo: ...

    @property
    def generator(self) -> Generator: ...

    @property
    def device(self) -> str: ...

    @property
    def progress(self) -> Progress: ...


# --- what is tried --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CandidateTexts:
    """texts: tried one and all. grammars: with more texts than that, searched. names: class names that texts may hold,
    those of other datasets among them. own: how many of these are the run's. source: file, or "strategies"."""

    texts: tuple[str, ...]
    grammars: tuple[Grammar, ...]
    names: tuple[str, ...]
    own: int
    source: str

    def has(self, text: str) -> bool:
        """Whether the text can be found at all."""
        return text in self._set or any(spells(grammar, text) for grammar in self.grammars)

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.texts)

    def class_of(self, text: str) -> str | None:
        """The longest class name that the text holds."""
        lowered = text.casefold()
        there = [name for name in self.names if name.casefold() in lowered]
        return max(there, key=len) if there else None

    def summary(self) -> Dictionary:
        """For the report."""
        return Dictionary(
            source=self.source,
            texts=len(self.texts),
            classes=self.own,
            decoys=len(self.names) - self.own,
            searched=[prod(len(place) for place in grammar) for grammar in self.grammars],
        )


def candidate_texts(session: Attacker) -> CandidateTexts:
    """The file's texts; or all that prompt strategies can write of the class names of this dataset and, as decoys, of
    the bundled ones. A grammar of the run's own strategy that has too many texts is searched, of another left out.

    Raises ConfigError where the file cannot be read."""
    options, own = session.config.audit, session.info.names_in_prompts
    if options.dictionary is not None:
        return CandidateTexts(read(options.dictionary), (), own, len(own), "file")
    names = (*own, *(name for name in _decoys(session) if name not in own))
    texts: dict[str, None] = {}
    searched: list[Grammar] = []
    for strategy, mine in _strategies(session):
        for grammar in strategy.grammar(names, session.info.domains):
            if prod(len(place) for place in grammar) <= options.candidates:
                texts |= dict.fromkeys(_texts(grammar))
            elif mine:
                searched.append([list(place) for place in grammar])
    return CandidateTexts(tuple(texts), tuple(searched), names, len(own), "strategies")


def read(file: str) -> tuple[str, ...]:
    """A text a line, each once. Raises ConfigError."""
    try:
        lines = read_text(Path(file).expanduser()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problem = f"cannot be read: {reason}; expected a text file with a prompt a line"
        raise ConfigError([Problem("audit.dictionary", repr(file), problem)], "the command line") from error
    texts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not texts:
        problem = "holds no text; expected a prompt a line"
        raise ConfigError([Problem("audit.dictionary", repr(file), problem)], "the command line")
    return texts


def _strategies(session: Attacker) -> list[tuple[SupportsGrammar, bool]]:
    """(strategy, whether it is the run's own) of those that can say what they may write; the run's own first."""
    manager, chosen = session.manager, session.config.prompt_strategy
    found = [(manager.create("prompt_strategy", chosen), True)]
    for name in manager.registry.names("prompt_strategy"):
        if name != chosen.name:
            try:
                entry = manager.registry.find("prompt_strategy", name)
                found.append((manager.registry.create("prompt_strategy", name, dict(entry.component.defaults)), False))
            except (FGLError, ValueError):  # one that cannot be built without options, or whose extra is not there
                continue
    return [(strategy, mine) for strategy, mine in found if isinstance(strategy, SupportsGrammar)]


def _decoys(session: Attacker) -> list[str]:
    """Class names of the bundled datasets."""
    registry = session.manager.registry
    name = DEFAULTS["dataset"]["name"]
    options = registry.options_class(registry.find("dataset", name))
    infos = (registry.create("dataset", name, options.from_text(text)).info() for text in options.known_texts())
    return list(dict.fromkeys(name for info in infos for name in info.class_names))


def _texts(grammar: Grammar) -> Iterable[str]:
    found = [""]
    for place in grammar:
        found = [before + one for before in found for one in place]
    return found
