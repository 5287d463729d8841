"""What happens in a run reaches hooks and trackers; none of them can end it."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgl.contracts.events import StageContext
from fgl.core.config.resolve import resolve
from fgl.core.events import Events
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import requests
from fgl.errors import ConfigError
from tests.helpers.installed import install

PLUGIN = """
from fgl import Component, Options, hookimpl

heard = []

class ListOptions(Options):
    fails: str = ""

class Listed:
    def __init__(self, options):
        self.fails = options.fails
        self.note("init")

    def note(self, what):
        heard.append(what)
        if what == self.fails:
            raise SystemExit(0) if what == "record" else ConnectionError("no route")

    def start(self, run, folder):
        self.note("start")
        heard.append((run.seed, run.config["seed"], run.version, folder.is_dir()))
        (folder / "log.txt").write_text("x")

    def record(self, event):
        self.note("record")
        heard.append((event.kind, event.stage, dict(event.values)))

    def finish(self, report):
        self.note("finish")
        heard.append(report)

@hookimpl
def fgl_trackers():
    return [Component("listed", Listed, ListOptions)]

@hookimpl
def fgl_run_started(context): heard.append(("hook", context.seed))
@hookimpl
def fgl_epoch_finished(entry): heard.append(("hook", entry["epoch"]))
@hookimpl
def fgl_run_finished(report): heard.append(("hook", report["x"]))
@hookimpl
def fgl_stage_started(context):
    if context.stage == "bad":
        raise KeyError("no such stage")
"""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Events, list[Any]]]:
    """The events of a run with the trackers that are listed, and what its plugin has heard."""
    install(monkeypatch, tmp_path / "plugin", "fgl_listed", PLUGIN, "listed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()

    def make(*trackers: Any) -> tuple[Events, list[Any]]:
        manager = PluginManager.load()
        config = resolve([{"seed": 5, "trackers": list(trackers)}], manager.registry)
        import fgl_listed  # type: ignore[import-not-found]

        fgl_listed.heard.clear()
        return Events(manager, RunDir(tmp_path / "run"), config), fgl_listed.heard

    return make


CONTEXT = StageContext("run", "train")
"""Relative: each test stands in a folder of its own."""


def happen(events: Events) -> None:
    events.run_started()
    events.stage_started(CONTEXT)
    events.epoch_finished(CONTEXT, {"epoch": 1.0, "loss": 0.5})
    events.run_finished({"x": 1})


def test_a_tracker_hears_of_the_run_from_its_start_to_its_report(events: Any, tmp_path: Path) -> None:
    made, heard = events("listed")
    happen(made)
    from importlib.metadata import version

    assert [one for one in heard if not isinstance(one, str)] == [
        ("hook", 5),
        (5, 5, version("fgl"), True),
        ("stage_started", "train", {}),
        ("hook", 1.0),
        ("epoch_finished", "train", {"epoch": 1.0, "loss": 0.5}),
        ("hook", 1),
        {"x": 1},
    ]
    folder = tmp_path / "run" / "trackers" / "listed"
    assert RunDir(tmp_path / "run").owned("trackers") == [folder / "log.txt"]


def test_hooks_hear_of_it_without_any_tracker(events: Any) -> None:
    made, heard = events()
    happen(made)
    assert heard == [("hook", 5), ("hook", 1.0), ("hook", 1)]


def test_a_tracker_hears_nothing_before_the_run_or_after_it(events: Any) -> None:
    made, heard = events("listed")
    made.stage_started(CONTEXT)
    assert heard == []
    happen(made)
    count = len(heard)
    made.stage_started(CONTEXT)
    assert len(heard) == count


def test_a_run_that_fails_ends_trackers_without_a_report(events: Any) -> None:
    made, heard = events("listed")
    made.run_started()
    made.stage_failed(CONTEXT, ValueError("x"))
    made.run_ended()
    assert heard[-3:] == [("stage_failed", "train", {"error": "ValueError"}), "finish", None]


@pytest.mark.parametrize("place", ["init", "start", "record", "finish"])
def test_an_error_of_a_tracker_is_one_warning_and_the_others_go_on(
    events: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, place: str
) -> None:
    made, heard = events({"name": "listed", "fails": place}, {"name": "csv", "events": ["epoch_finished"]})
    with caplog.at_level(logging.WARNING):
        happen(made)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("tracker 'listed' records no more of this run: tracker 'listed' of fgl-listed")
    assert ("SystemExit" if place == "record" else "ConnectionError: no route") in said
    assert heard.count(place) == 1
    rows = list(csv.DictReader((tmp_path / "run" / "trackers" / "csv" / "events.csv").open()))
    assert [(row["event"], row["step"], row["name"], row["value"]) for row in rows] == [
        ("epoch_finished", "1", "epoch", "1"),
        ("epoch_finished", "1", "loss", "0.5"),
    ]


@pytest.mark.parametrize("name", ["events.csv", "config.json", "below/x"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_run_from_elsewhere_does_not_lead_a_tracker_out_of_it(
    events: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str, kind: str
) -> None:
    place, victim = tmp_path / "run" / "trackers" / "csv" / name, tmp_path / "victim"
    place.parent.mkdir(parents=True)
    victim.write_text("mine")
    if kind == "link":
        place.symlink_to(victim)
    else:
        os.mkfifo(place)
    made, _ = events("csv")
    with caplog.at_level(logging.WARNING):
        happen(made)
    (said,) = [record.getMessage() for record in caplog.records]
    assert ("is a symbolic link" if kind == "link" else "a pipe or a device") in said
    assert victim.read_text() == "mine"


def test_an_error_of_a_hook_is_one_warning(events: Any, caplog: pytest.LogCaptureFixture) -> None:
    made, _ = events()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            made.stage_started(StageContext("run", "bad"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "plugin 'listed' raised in fgl_stage_started; the run goes on: KeyError: 'no such stage'"


@pytest.mark.parametrize(
    ("trackers", "said"),
    [
        (["cvs"], "trackers: got 'cvs'; unknown tracker 'cvs': did you mean 'csv'?"),
        ([{"name": "csv", "fil": "x"}], "trackers.csv.fil: got 'x'; unknown option: did you mean 'file'?"),
        (["csv", "csv"], "trackers: got 'csv'; expected each tracker once"),
        ([{"name": "csv", "file": "../x"}], "is not a file name: expected a name without a path"),
        ([3], "expected names, or mappings with a name and options"),
    ],
)
def test_a_list_that_is_none_says_so(trackers: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([{"trackers": trackers}], PluginManager.load().registry)
    assert said in str(caught.value)


def test_a_configuration_without_trackers_is_the_one_it_was() -> None:
    registry = PluginManager.load().registry
    assert "trackers" not in resolve([{}], registry).to_dict()
    with_one = resolve([{"trackers": "csv"}], registry)
    assert with_one.to_dict()["trackers"] == [{"name": "csv", "file": "events.csv", "events": []}]
    assert resolve([with_one.to_dict()], registry) == with_one
    request = requests.prepare_request(with_one, "client-0", 0, Path("private"), "cpu", "")
    assert "trackers" not in json.loads(request)["config"]


def test_the_table_names_no_client_and_goes_on_where_it_stopped(tmp_path: Path, events: Any) -> None:
    for _ in range(2):
        made, _ = events("csv")
        made.run_started()
        made.upload_accepted(CONTEXT, "ward-7", "0" * 64, 100)
        made.upload_refused(CONTEXT, "ward-8", "shape", "of ward-8")
        made.round_finished(CONTEXT, {"round": 1, "clients": ["ward-7"], "dropped": [], "failed": {"ward-8": "x"}})
        made.run_finished({})
    text = (tmp_path / "run" / "trackers" / "csv" / "events.csv").read_text()
    assert "ward" not in text
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["name"], row["value"]) for row in rows] == 2 * [
        ("size", "100"),
        ("round", "1"),
        ("clients", "1"),
        ("dropped", "0"),
        ("failed", "1"),
    ]
    assert json.loads((tmp_path / "run" / "trackers" / "csv" / "config.json").read_text())["seed"] == 5
