"""What lifecycle hooks receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StageContext:
    """The stage that a lifecycle hook is called for. `seconds` and `outputs` are filled in once it has finished."""

    run_dir: str
    """Path of the run directory."""

    stage: str
    """Name of the stage."""

    seconds: float = 0.0
    """How long the stage took."""

    reused: bool = False
    """Whether the result of an earlier execution was used instead of running the stage."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    """The numbers of the stage's result, by name."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run that starts or has finished."""

    run_dir: str
    """Path of the run directory."""

    config: Mapping[str, Any]
    """The whole configuration, in the form that a YAML file has."""

    seed: int
    """Its seed."""

    version: str
    """Version of fgl."""
