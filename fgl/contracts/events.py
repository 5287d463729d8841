"""What a lifecycle hook is told of the stage that it is called for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StageContext:
    """What lifecycle hooks are told. seconds and outputs are filled when the stage has finished."""

    run_dir: str
    stage: str
    seconds: float = 0.0
    reused: bool = False
    outputs: Mapping[str, Any] = field(default_factory=dict)
