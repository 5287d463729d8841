"""Synthesis by processes of their own: the same images as in this process, whoever is killed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fgl
from fgl.errors import BrokenPluginError, ModelError
from tests.helpers import warm
from tests.helpers.installed import install
from tests.helpers.settings import small, write_noise
from tests.integration.test_products_of_plugins import PLUGIN

DRIVER = """
import json, os, signal, sys
import fgl
from fgl.plugins.executors import processes

hear = processes._Crew._hear

def killed(self, worker):
    hear(self, worker)
    if len(self._left) < len(self._images):  # a shard is committed
        print(json.dumps([one.process.pid for one in self._workers]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

processes._Crew._hear = killed
fgl.run(json.loads(sys.argv[1]), out=sys.argv[2])
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A run of a plugin that needs no torch, in a folder of the given name. SPOIL: what its items become."""
    (tmp_path / "images").mkdir()
    write_noise(tmp_path / "images")
    installed: list[str] = []

    def run(folder: str, executor: Any, spoil: str = "values") -> Any:
        if not installed:
            source = PLUGIN.replace("SPOIL = lambda values: values", f"SPOIL = lambda values: {spoil}")
            install(monkeypatch, tmp_path / "site", "fgl_colours", source, "colours")
            installed.append(spoil)
        config = {
            "dataset": str(tmp_path / "images"),
            "partition": {"name": "iid", "clients": 2},
            "generator": "colours",
            "synthesis": {"images_per_class": 5, "shard_size": 4},
            "executor": executor,
        }
        return fgl.run(config, out=tmp_path / folder)

    return run


TWO = {"name": "processes", "devices": "cpu:2", "threads": 1}


def test_two_processes_make_the_same_set_as_one_and_say_what_they_took(run: Callable[..., Any], tmp_path: Path) -> None:
    here, there = run("here", "local"), run("there", TWO)
    assert there["synthetic"]["digest"] == here["synthetic"]["digest"]
    assert there["result"] == here["result"]
    workers = there["synthetic"]["notes"]["workers"]
    assert [(one["device"], one["threads"]) for one in workers] == [("cpu", 1)] * 2
    environment = json.loads((tmp_path / "there" / "environment.json").read_text())
    assert environment["workers"] == {"devices": ["cpu", "cpu"], "threads": 1}
    assert "peak memory" in (tmp_path / "there" / "report.md").read_text()


def test_an_error_of_a_plugin_is_the_same_line_from_another_process(run: Callable[..., Any]) -> None:
    said = []
    for executor in ("local", TWO):
        with pytest.raises(BrokenPluginError) as caught:
            run("run", executor, spoil="1 / 0")
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "generator 'colours' of fgl-colours: Synthesizer.synthesize() raised ZeroDivisionError" in said[0]


def test_devices_that_are_not_there_are_an_error_before_anything_runs(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"executor.devices: device 'cuda:99' is not available on this machine"):
        run("run", {"name": "processes", "devices": ["cuda:99"]})
    assert not (tmp_path / "run").exists()


def test_a_killed_run_takes_its_processes_with_it_and_can_be_completed(pipeline: Path, tmp_path: Path) -> None:
    """With the images of a diffusion model, on one thread: those of the process are the ones of this process."""
    (tmp_path / "images").mkdir()
    config = small(write_noise(tmp_path / "images"), pipeline, synthesis={"shard_size": 3})
    executor = {"name": "processes", "devices": "cpu:1", "threads": 1}
    out = tmp_path / "run"
    ended = warm.run(DRIVER, json.dumps({**config, "executor": executor}), str(out))
    assert ended.returncode == -9, ended.stderr
    (pid,) = json.loads(ended.stdout.splitlines()[-1])
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives the one that started it"
        time.sleep(0.05)
    shards = list((out / "server" / "shards").glob("*.json"))
    assert 1 <= len(shards) < 3
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        completed, whole = fgl.run(config, out=out), fgl.run(config, out=tmp_path / "whole")
    finally:
        torch.set_num_threads(before)
    assert completed["synthetic"]["digest"] == whole["synthetic"]["digest"]
    assert completed["synthetic"]["reused"] == 3 * len(shards)


def _runs(pid: int) -> bool:
    """Whether there is such a process, and not only what its parent has not fetched of it."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in ("", "Z")
