"""What a run is read beside: the table of baselines. A new one is a row here, and the functions that it names.

Functions are named by text, as a component's target is: the configuration and the report know the table, and stages,
which make the rows, stand above both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

_STAGES = "fgl.core.stages.baselines"
_COSTS = "fgl.core.experiments.costs"
PROMPTS = "prompts:"
"""How the name of a second run begins, with another prompt strategy; the rest is the strategy's name."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Another way to the same test images: what would one have got otherwise?"""

    name: str
    title: str
    """Of its row in every table."""
    answers: str
    """What it answers: the heading of its part of a run."""
    make: str
    """Function of a session and of what is done, which returns name → row of the report, for all that one stage makes.
    Of a run with other prompts: also of the name."""
    inputs: str = ""
    """Function of a session and of what is done: all that determines the stage. "" for a run of its own."""
    made_with: str = ""
    """The baseline whose stage makes this one too, "" where it has a stage of its own."""
    requires: tuple[str, ...] = ()
    """What the dataset must have, as in `Component.requires`."""
    needs_clients: Literal["", "images", "prompts"] = ""
    """What of the clients it takes: their images, which a server has in a simulation alone, or their prompts anew."""
    hands: tuple[str, ...] = ()
    """What it hands to the generator, as in `Component.provides`."""
    after_one_shot: bool = False
    """Whether the run's one-shot model comes first."""
    cost: str = ""
    """Function of a configuration and its data: what it costs as a method of a comparison, "" where it is none."""

    @property
    def part(self) -> str:
        """The baseline in whose part of a run it is made."""
        return self.made_with or self.name

    @property
    def stage(self) -> str:
        return f"baseline:{self.part}"

    @property
    def is_run(self) -> bool:
        """Whether it is a whole run in a folder of its own."""
        return self.name.startswith(PROMPTS)

    def call(self, function: Literal["make", "inputs", "cost"], *given: Any) -> Any:
        """Call one of the functions that the row names."""
        return resolve_name(getattr(self, function))(*given)


_ROWS = (
    Baseline(
        "class-list",
        title="server knows only the class list",
        answers="what the server could have made alone, from the class names",
        make=f"{_STAGES}:class_list",
        inputs=f"{_STAGES}:class_list_inputs",
        hands=("text",),
        after_one_shot=True,
        cost=f"{_COSTS}:class_list",
    ),
    Baseline(
        "fedavg",
        title="FedAvg, one round",
        answers="one round of FedAvg on the same split, and each client's model before averaging",
        make=f"{_STAGES}:one_round",
        inputs=f"{_STAGES}:one_round_inputs",
        needs_clients="images",
    ),
    Baseline(
        "local",
        title="local only (mean over clients)",
        answers="each client's model by itself, before averaging",
        make=f"{_STAGES}:one_round",
        inputs=f"{_STAGES}:one_round_inputs",
        made_with="fedavg",
        needs_clients="images",
        cost=f"{_COSTS}:local",
    ),
    Baseline(
        "public",
        title="real images that trained the generator (a sample)",
        answers="the classifier trained on real images of the kind that the generator was trained on",
        make=f"{_STAGES}:public",
        inputs=f"{_STAGES}:public_inputs",
        requires=("public",),
    ),
    Baseline(
        "centralized",
        title="centralized: real data of all clients (ceiling)",
        answers="the classifier trained on all clients' real images together, as a ceiling",
        make=f"{_STAGES}:centralized",
        inputs=f"{_STAGES}:centralized_inputs",
        needs_clients="images",
        cost=f"{_COSTS}:centralized",
    ),
)
BASELINES: dict[str, Baseline] = {row.name: row for row in _ROWS}
"""Name → baseline, in the order in which `all` makes them."""


def find(name: str) -> Baseline:
    """A baseline by the name that a configuration has for it. Raises KeyError."""
    if not name.startswith(PROMPTS):
        return BASELINES[name]
    strategy = name.removeprefix(PROMPTS)
    return Baseline(
        name,
        title=f"fgl one-shot, {strategy} prompts",
        answers=f"a second run, with {strategy} prompts, for a row beside this one's",
        make="fgl.core.orchestrator:other_prompts_row",
        needs_clients="prompts",
    )


def heading(name: str) -> str:
    """The part of a run in which a baseline is made."""
    part = find(find(name).part)
    return f"baseline {part.name}: {part.answers}"


def lacking(names: tuple[str, ...], has: frozenset[str]) -> list[str]:
    """Those of these baselines that a dataset cannot serve. has: what it has of `Baseline.requires`."""
    return [name for name in names if not has.issuperset(find(name).requires)]


def compared() -> list[str]:
    """Names of the baselines that are methods of a comparison."""
    return [name for name, row in BASELINES.items() if row.cost]
