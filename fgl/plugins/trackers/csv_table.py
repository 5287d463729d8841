"""A run's numbers as a table that spreadsheets and pandas read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl.contracts.events import RunContext
from fgl.contracts.tracker import Event
from fgl.errors import StoreError
from fgl.io import files, strict_json
from fgl.plugins.trackers.options import CsvOptions

COLUMNS = ("time", "stage", "event", "step", "name", "value")
_STEPS = {"epoch_finished": "epoch", "round_finished": "round"}
"""Kind of an event → the value that numbers it."""


class CsvTable:
    """Writes one row a number (contract `Tracker`), as it comes. Clients are counted and never named."""

    def __init__(self, options: CsvOptions) -> None:
        self.options = options
        self._path = Path()

    def start(self, run: RunContext, folder: Path) -> None:
        """Write config.json, and the table's header if there is no table yet: a resumed run adds to it."""
        self._path = folder / self.options.file
        files.write(folder / "config.json", f"{strict_json.dumps(dict(run.config), indent=2)}\n".encode())
        if not self._path.exists():
            self._write([COLUMNS])

    def record(self, event: Event) -> None:
        if self.options.events and event.kind not in self.options.events:
            return
        step = event.values.get(_STEPS.get(event.kind, ""), "")
        step = int(step) if isinstance(step, float) and step.is_integer() else step
        head = (f"{event.time:.3f}", event.stage, event.kind, step)
        self._write([(*head, name, value) for name, value in _numbers(event.values)])

    def finish(self, report: Mapping[str, Any] | None) -> None:
        pass

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        # opened for each event: what is there is there, whenever the process ends
        try:
            with io.TextIOWrapper(files.open_append(self._path), encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror or error}") from error


def _numbers(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Each number by its name; of lists and mappings, which may name clients, how many entries they have."""
    rows: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, bool | int | float):
            whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
            rows.append((name, int(value) if whole else value))
        elif isinstance(value, list | dict):
            rows.append((name, len(value)))
    return rows
