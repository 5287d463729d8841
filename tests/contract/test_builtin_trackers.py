"""The built-in trackers keep the contract."""

from __future__ import annotations

from fgl.plugins.trackers.csv_table import CsvTable
from fgl.plugins.trackers.options import CsvOptions
from fgl.testing.contracts import TrackerContract


class TestCsv(TrackerContract):
    make = staticmethod(lambda: CsvTable(CsvOptions()))


class TestCsvOfRounds(TrackerContract):
    make = staticmethod(lambda: CsvTable(CsvOptions(file="rounds.csv", events=["round_finished"])))
