"""Trackers that break one promise each."""

from __future__ import annotations

from pathlib import Path

from fgl.testing.contracts import TrackerContract


class Sound:
    """A text file of what happened."""

    def start(self, run, folder):
        self.path = folder / "log.txt"

    def record(self, event):
        with self.path.open("a") as file:
            file.write(f"{event.kind} {dict(event.values)}\n")

    def finish(self, report):
        pass


class OnlyNumbers(Sound):
    def record(self, event):
        [float(value) for value in event.values.values()]


class RefuseOnlyNumbers(TrackerContract):
    refused_by = "test_every_kind_of_event_can_be_recorded"
    make = OnlyNumbers


class TableOfKinds(Sound):
    def record(self, event):
        raise KeyError(event.kind)


class RefuseTableOfKinds(TrackerContract):
    refused_by = "test_kinds_that_it_does_not_know_are_passed_over"
    make = TableOfKinds


class AlwaysAReport(Sound):
    def finish(self, report):
        report["result"]


class RefuseAlwaysAReport(TrackerContract):
    refused_by = "test_a_run_that_failed_ends_without_a_report"
    make = AlwaysAReport


class FreshFile(Sound):
    def start(self, run, folder):
        super().start(run, folder)
        self.path.write_text("")

    def record(self, event):
        if event.kind == "stage_started" and not (self.path.parent / "second").exists():
            super().record(event)

    def finish(self, report):
        (self.path.parent / "second").mkdir(exist_ok=True)


class RefuseFreshFile(TrackerContract):
    refused_by = "test_a_resumed_run_keeps_what_is_there"
    make = FreshFile


class WorkingDirectory(Sound):
    def start(self, run, folder):
        self.path = Path("log.txt")


class RefuseWorkingDirectory(TrackerContract):
    refused_by = "test_it_writes_nowhere_else"
    make = WorkingDirectory


class PopsFromTheReport(Sound):
    def finish(self, report):
        report.pop("result")


class RefusePopsFromTheReport(TrackerContract):
    refused_by = "test_what_it_is_given_stays_as_it_is"
    make = PopsFromTheReport
