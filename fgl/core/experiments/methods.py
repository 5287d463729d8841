"""What can be compared: the configuration's own run, methods that are components, baselines, federated algorithms."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fgl.core.baselines import BASELINES, compared
from fgl.core.config import fit
from fgl.core.config.schema import RunConfig
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError, Problem, suggestion
from fgl.text import counted

_ROUNDS = re.compile(r"fgl-([1-9][0-9]{0,4})round(-tuned)?")
SERVER_EPOCHS = 5
"""Passes of the server in a method that ends in -tuned, where the configuration states none: the paper's."""

FGL = "fgl"
LOCAL = BASELINES["local"].name


@dataclass(frozen=True, slots=True)
class Method:
    """What is compared."""

    name: str
    """On the command line."""
    rounds: int = 0
    """After the one-shot model, or of the algorithm; 0 where there are none."""
    algorithm: str = ""
    """"" where none is used."""
    tuned: bool = False
    """Whether the server trains on the synthetic set after each round."""
    config: RunConfig | None = None
    """Of a method that is a component (`fgl.contracts.method`): a run of its own. None: stages of the shared run."""

    @property
    def all_rounds(self) -> int:
        return self.rounds if self.config is None else self.config.rounds.count

    @property
    def title(self) -> str:
        if self.config is not None:
            return after_rounds(self.name, self.config.rounds.count)
        if self.name == FGL:
            return "fgl, one round"
        if self.name in compared():
            return BASELINES[self.name].title
        counted = f"{self.rounds} round{'s' * (self.rounds > 1)}"
        if self.name.startswith("fgl-"):
            return f"fgl, {counted} after it{', fine-tuned' if self.tuned else ''}"
        return f"{self.algorithm}, {counted}"


def after_rounds(name: str, rounds: int) -> str:
    """Title of a method whose one-shot model may be followed by rounds."""
    return f"{name}, {counted(rounds, 'round')} after it" if rounds else name


def parse(
    names: Sequence[str],
    count: int,
    manager: PluginManager,
    config: RunConfig,
    configured: Callable[[str], RunConfig],
) -> list[Method]:
    """Methods by name. count: rounds of the federated algorithms. configured: the configuration with the method of this
    name, a component, in place of its own. Raises ConfigError with every unknown name."""
    algorithms = manager.registry.names("algorithm")
    bundles = [name for name in manager.registry.names("method") if name != FGL]
    known = [FGL, *compared(), *algorithms, *bundles, "fgl-5round", "fgl-5round-tuned"]
    methods, problems = [], []
    for name in dict.fromkeys(names):
        match = _ROUNDS.fullmatch(name)
        if name in (FGL, *compared()):
            methods.append(Method(name))
        elif match:
            methods.append(Method(name, int(match[1]), config.algorithm.name, match[2] is not None))
        elif name in algorithms:
            methods.append(Method(name, count, name))
        elif name in bundles:
            try:
                methods.append(Method(name, config=configured(name)))
            except ConfigError as error:
                problems += [Problem(f"{name}: {one.key}", one.got, one.expected) for one in error.problems]
        else:
            expected = f"no such method{suggestion(name, known)} (known: {', '.join(known)}, with any number of rounds)"
            problems.append(Problem("--methods", repr(name), expected))
    if not names:
        problems.append(Problem("--methods", "nothing", f"expected some of {', '.join(known)}"))
    rounds_of = [(method.name, bool(method.rounds)) for method in methods]
    problems += fit.method_problems(config, rounds_of, manager.registry)
    if problems:
        raise ConfigError(problems, "the command line")
    return methods
