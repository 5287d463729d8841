"""A method: a named bundle of components and options, a row beside others in `fgl compare`."""

from __future__ import annotations

from collections.abc import Mapping

from fgl import Options
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `method:`."""

    rounds: int = Field(2, ge=0, description="Rounds of federated training after the one-shot model.")


class Mine:
    """Sets what the method is made of. What the user sets explicitly overrides it."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {"prompt_strategy": {"name": "class-name"}, "rounds": {"count": self.options.rounds}}
