"""The built-in executors keep the contract that third parties are tested against."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgl.errors import ModelError
from fgl.plugins.executors.local import LocalExecutor
from fgl.plugins.executors.options import ProcessesOptions
from fgl.plugins.executors.processes import ProcessesExecutor
from fgl.testing.contracts import ExecutorContract

PLUGINS = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


class TestLocal(ExecutorContract):
    make = staticmethod(LocalExecutor)


class TestProcesses(ExecutorContract):
    make = staticmethod(lambda: ProcessesExecutor(ProcessesOptions(devices="cpu:2", threads=1)))

    def test_a_process_that_dies_is_replaced_and_costs_its_shard(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        executor, job = self.job(tmp_path, "die_once")
        told: list[int] = []
        executor.run(job, told.append)
        assert {path.name for path in tmp_path.iterdir()} == {"died", *map(str, job.shards)}
        assert sum(told) == sum(job.images)
        assert "a process on cpu ended with exit code 3 at shard 2: it is replaced" in caplog.text

    def test_three_deaths_at_one_shard_end_the_run_with_its_number_and_the_cause(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "die", (0, 2))
        said = r"shard 2 ended 3 processes.* on cpu, was ended by signal 9 \(SIGKILL, as the system does where memory"
        with pytest.raises(ModelError, match=said):
            executor.run(job, lambda count: None)

    def test_each_process_says_how_much_memory_it_took(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write", (0, 1))
        ballast = np.ones(6 * 10**7)  # 480 MB that the process itself has, and those that it starts have not
        executor.run(job, lambda count: None)
        assert isinstance(executor, ProcessesExecutor)
        first, second = executor.usage()["workers"]  # type: ignore[misc]
        assert first["device"] == second["device"] == "cpu"
        assert 5e6 < min(first["peak_memory_bytes"], second["peak_memory_bytes"]) < ballast.nbytes

    def test_an_interrupt_leaves_no_process_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[subprocess.Popen[bytes]] = []
        start = subprocess.Popen

        def noted(*arguments: Any, **named: Any) -> Any:
            started.append(start(*arguments, **named))
            return started[-1]

        def interrupt(count: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(subprocess, "Popen", noted)
        executor, job = self.job(tmp_path, "write")
        with pytest.raises(KeyboardInterrupt):
            executor.run(job, interrupt)
        assert len(started) == 2
        assert all(process.poll() is not None for process in started)

    def test_each_process_gets_its_share_of_the_threads(self) -> None:
        import torch

        options = ProcessesOptions(devices="cpu:2")
        assert ProcessesExecutor(options).environment()["workers"] == {
            "devices": ["cpu", "cpu"],
            "threads": max(1, torch.get_num_threads() // 2),
        }

    @pytest.mark.parametrize("devices", ["gpu", "cpu:0", [], ["cuda"], ["cpu:2"], ["cpu", "cuda:0"]])
    def test_devices_that_mean_nothing_are_refused(self, devices: Any) -> None:
        with pytest.raises(ValueError, match="expected"):
            ProcessesOptions(devices=devices)

    def test_another_kind_of_device_than_the_runs_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"device is 'cpu', and executor\.devices are cuda:0, cuda:1: ask for one"):
            ProcessesExecutor(ProcessesOptions(devices=["cuda:0", "cuda:1"])).device("cpu")


def test_the_executor_of_the_documentation_fills_shards_in_other_processes(tmp_path: Path) -> None:
    space: dict[str, type] = {}
    exec(re.search(r"<!-- executor -->\n```python\n(.*?)```", PLUGINS, flags=re.DOTALL)[1], space)  # type: ignore[index]

    class Documented(ExecutorContract):
        make = space["Pool"]

    Documented().test_each_shard_is_filled_once_and_all_are_when_it_returns(tmp_path)
