"""What every tracker must hold to."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import pytest

from fgl.contracts.events import RunContext
from fgl.contracts.tracker import Event, EventKind, Tracker

_VALUES: dict[str, dict[str, Any]] = {
    "stage_finished": {"images": 40, "selected.top1": 0.5, "note": "none", "seconds": 1.5, "reused": False},
    "stage_failed": {"error": "ModelError"},
    "epoch_finished": {"epoch": 1.0, "loss": 2.25, "validation_top1": None},
    "round_finished": {"round": 1, "clients": ["client-0"], "failed": {"client-1": "left"}, "loss": None, "top1": 0.5},
    "upload_accepted": {"client_id": "client-0", "sha256": "0" * 64, "size": 1000},
    "upload_refused": {"client_id": "client-1", "rule": "shape", "reason": "refused: x"},
    "client_forgotten": {"client_id": "client-1"},
}


class TrackerContract:
    """A tracker takes whatever happens in a run, and writes in its folder if anywhere on this machine."""

    @staticmethod
    def make() -> Tracker:
        raise NotImplementedError("set `make = staticmethod(lambda: YourTracker(YourOptions()))` in the test class")

    @pytest.fixture
    def run(self, tmp_path: Path) -> RunContext:
        """A run with a configuration of two sections."""
        config = {"seed": 7, "generator": {"name": "tiny", "steps": 4}, "trackers": [{"name": "mine"}]}
        return RunContext(str(tmp_path / "run"), config, 7, "0.2.0")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The tracker's folder, empty."""
        folder = tmp_path / "run" / "trackers" / "mine"
        folder.mkdir(parents=True)
        return folder

    @pytest.fixture
    def events(self) -> list[Event]:
        """One of each kind."""
        return [Event(kind, "train", 1.5 + at, _VALUES.get(kind, {})) for at, kind in enumerate(get_args(EventKind))]

    @pytest.mark.parametrize("kind", get_args(EventKind))
    def test_every_kind_of_event_can_be_recorded(
        self, kind: str, run: RunContext, folder: Path, events: list[Event]
    ) -> None:
        tracker = self.make()
        tracker.start(run, folder)
        tracker.record(next(event for event in events if event.kind == kind))
        tracker.finish({"result": {"selected": {"top1": 0.5}}})

    def test_kinds_that_it_does_not_know_are_passed_over(self, run: RunContext, folder: Path) -> None:
        tracker = self.make()
        tracker.start(run, folder)
        tracker.record(Event("of_a_later_version", "train", 1.0, {"name": ["x", {"y": None}]}))  # type: ignore[arg-type]
        tracker.finish(None)

    def test_a_run_that_failed_ends_without_a_report(self, run: RunContext, folder: Path, events: list[Event]) -> None:
        tracker = self.make()
        tracker.start(run, folder)
        for event in events:
            tracker.record(event)
        tracker.finish(None)

    def test_a_resumed_run_keeps_what_is_there(self, run: RunContext, folder: Path, events: list[Event]) -> None:
        sizes: list[dict[str, int]] = []
        for _ in range(2):
            tracker = self.make()
            tracker.start(run, folder)
            for event in events:
                tracker.record(event)
            tracker.finish({})
            sizes.append({path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()})
        first, second = sizes
        assert {name for name, size in first.items() if second.get(name, 0) < size} == set(), "files that shrank"

    def test_it_writes_nowhere_else(
        self,
        run: RunContext,
        folder: Path,
        events: list[Event],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        tracker = self.make()
        tracker.start(run, folder)
        for event in events:
            tracker.record(event)
        tracker.finish({})
        outside = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
        assert outside == []

    def test_what_it_is_given_stays_as_it_is(self, run: RunContext, folder: Path, events: list[Event]) -> None:
        report = {"result": {"selected": {"top1": 0.5}}}
        before = copy.deepcopy((dict(run.config), events, report))
        tracker = self.make()
        tracker.start(run, folder)
        for event in events:
            tracker.record(event)
        tracker.finish(report)
        assert (dict(run.config), events, report) == before
