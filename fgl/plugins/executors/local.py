"""Runs shards one after another, on the best device of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from fgl.contracts.executor import ShardJob, fill_shards
from fgl.errors import ModelError


class LocalExecutor:
    """Runs shards in this process, in order (contract `Executor`)."""

    def device(self, asked: str) -> str:
        """The device. auto: cuda, else mps, else cpu."""
        kind, _, index = asked.partition(":")
        here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if kind == "auto":
            return next(name for name in ("cuda", "mps", "cpu") if here[name])
        if not here.get(kind, False) or (kind == "cuda" and index and int(index) >= torch.cuda.device_count()):
            present = ", ".join(name for name, found in here.items() if found)
            raise ModelError(f"device {asked!r} is not available on this machine, which has {present}")
        return asked

    def environment(self) -> Mapping[str, object]:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return {"threads": torch.get_num_threads(), "gpu": gpu}

    def run(self, job: ShardJob, advance: Callable[[int], None]) -> None:
        fill_shards(job, job.shards, advance=advance)
