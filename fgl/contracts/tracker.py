"""Trackers: where a run's figures go while it runs, such as a table, TensorBoard or a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from fgl.contracts.events import RunContext

EventKind = Literal[
    "stage_started",
    "stage_finished",
    "stage_failed",
    "epoch_finished",
    "round_finished",
    "upload_accepted",
    "upload_refused",
    "client_forgotten",
]
"""Kinds of events. More may be added: a tracker passes over those that it does not know."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""

    kind: EventKind
    """What happened."""

    stage: str
    """Name of the stage that it happened in."""

    time: float
    """When, in seconds since 1970."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """JSON: figures by name, such as `loss` of an epoch, `seconds` of a stage or `top1` of a round. Values of the kinds
    upload_accepted, upload_refused, client_forgotten and round_finished name clients."""


class Tracker(Protocol):
    """Receives what happens in a run whose configuration lists it under `trackers`.

    An error of a tracker never ends a run: it is a warning, and the tracker is called no more in that run.
    """

    def start(self, run: RunContext, folder: Path) -> None:
        """The run starts, or is resumed.

        Args:
            run: The run, with its configuration.
            folder: For files of the tracker; it exists, lies in the run directory, and holds what an interrupted run
                has left there.
        """

    def record(self, event: Event) -> None:
        """Called as each event happens, in order."""

    def finish(self, report: Mapping[str, Any] | None) -> None:
        """The run has finished. report: what report.json holds; None if the run failed."""
