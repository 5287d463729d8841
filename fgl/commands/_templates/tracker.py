"""A tracker: where figures go while a run goes on. Here to a text file, one line an event."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl import Event, Options, RunContext
from pydantic import Field


class MineOptions(Options):
    """What a user can set in `trackers`."""

    file: str = Field("events.txt", description="Name of the file in the tracker's folder.")


class Mine:
    """Whatever it raises is a warning; it cannot end a run."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options
        self.path = Path(options.file)

    def start(self, run: RunContext, folder: Path) -> None:
        """folder: exists, lies in the run directory, and holds what an interrupted run has left there."""
        self.path = folder / self.options.file
        self._write(f"started with seed {run.seed}")

    def record(self, event: Event) -> None:
        """Numbers only: other values may name clients, which a run can be asked to forget."""
        numbers = {name: value for name, value in event.values.items() if isinstance(value, int | float)}
        self._write(f"{event.stage} {event.kind} {numbers}")

    def finish(self, report: Mapping[str, Any] | None) -> None:
        """report: what report.json holds; None if the run failed."""
        self._write("failed" if report is None else "finished")

    def _write(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
