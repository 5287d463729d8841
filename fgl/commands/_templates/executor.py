"""An executor: what runs the synthesis of shards. Here in this process, the largest shards first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fgl
from fgl import Options, Shard
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `executor:`."""

    largest_first: bool = Field(True, description="Whether the largest shards are filled first.")


class Mine:
    """Devices and hardware are those that the built-in executor finds."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options
        self.base: Any = fgl.create("executor", "local")

    def device(self, asked: str) -> str:
        """The device that `asked` means here, such as "auto". Raise fgl.ModelError where it is not available."""
        return str(self.base.device(asked))

    def environment(self) -> Mapping[str, object]:
        """JSON: what figures depend on besides the configuration."""
        return dict(self.base.environment())

    def run(self, shards: Sequence[Shard], work: Callable[[Shard], None]) -> None:
        """Call `work` on every shard, and return once all calls have."""
        order = sorted(shards, key=lambda shard: -len(shard.items)) if self.options.largest_first else shards
        for shard in order:
            work(shard)
