"""What a run says that it is doing: its parts in order, and why each is there.

Stages of a baseline look like those of the run itself: without a heading, a second `synthesize` is taken for a restart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgl.contracts.progress import Announcing
from fgl.core.config.schema import PROMPTS_BASELINE
from fgl.text import counted

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.session import Session


ONE_SHOT, ROUNDS, AT_CLIENTS, QUALITY = "one-shot", "rounds", "at clients", "quality"
BASELINES = {
    "class-list": "what the server could have made alone, from the class names",
    "fedavg": "one round of FedAvg on the same split, and each client's model before averaging",
    "public": "the classifier trained on real images of the kind that the generator was trained on",
    "centralized": "the classifier trained on all clients' real images together, as a ceiling",
}
"""What each baseline answers. `local` comes with `fedavg`: the same models."""


def parts(config: RunConfig) -> dict[str, str]:
    """Part → its heading, in the order in which a run of this configuration comes to them."""
    found = {ONE_SHOT: f"one-shot run with {config.prompt_strategy.name} prompts"}
    if config.rounds.count:
        found[ROUNDS] = f"{counted(config.rounds.count, 'round')} of federated training after the one-shot model"
    if config.evaluation.at_clients:
        found[AT_CLIENTS] = "the classifier tested at the clients"
    if config.evaluation.quality:
        found[QUALITY] = "the synthetic set measured beside real images"
    for name in config.baselines:
        if name.startswith(PROMPTS_BASELINE):
            strategy = name.removeprefix(PROMPTS_BASELINE)
            found[name] = f"baseline {name}: a second run, with {strategy} prompts, for a row beside this one's"
        else:
            stage = baseline_part(name)
            found[stage] = f"baseline {stage}: {BASELINES[stage]}"
    return found


def baseline_part(name: str) -> str:
    """The part in which a baseline is made: local models come with FedAvg."""
    return "fedavg" if name == "local" else name


@dataclass(slots=True)
class Headings:
    """Says each part's heading once, when it begins. silent: within a run that is itself a part of another."""

    session: Session
    silent: bool = False
    _said: set[str] = field(default_factory=set)

    def begin(self, part: str) -> None:
        """A part that this configuration does not have says nothing."""
        all_ = parts(self.session.config)
        if self.silent or part in self._said or part not in all_:
            return
        self._said.add(part)
        place = list(all_).index(part) + 1
        progress = self.session.progress
        if isinstance(progress, Announcing):
            progress.heading(f"part {place} of {len(all_)}: {all_[part]}")
