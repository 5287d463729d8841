"""An executor: what runs the synthesis of shards. Here in this process, the largest shards first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fgl
from fgl import Options, ShardJob
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

    def run(self, job: ShardJob, advance: Callable[[int], None]) -> None:
        """Have every shard filled, and return when all are committed. `job` may be sent to other processes."""
        images = dict(zip(job.shards, job.images, strict=True))
        order = sorted(job.shards, key=lambda index: -images[index]) if self.options.largest_first else job.shards
        fgl.fill_shards(job, order, advance=advance)
