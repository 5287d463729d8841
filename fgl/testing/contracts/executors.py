"""What every executor must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fgl.contracts.executor import Executor, ShardJob
from fgl.errors import ModelError
from fgl.io import strict_json
from fgl.testing import shards

SHARDS = (0, 1, 2, 5, 6)
"""With a gap in their numbers."""


class ExecutorContract:
    """An executor has each shard filled once, and returns once all of them are committed.

    The shards are files of text, and filling them loads no model. An executor that starts processes starts them here:
    they import `fgl.testing.shards`."""

    @staticmethod
    def make() -> Executor:
        raise NotImplementedError("set `make = staticmethod(lambda: YourExecutor(YourOptions()))` in the test class")

    def job(self, folder: Path, task: str, indexes: tuple[int, ...] = SHARDS) -> tuple[Executor, ShardJob]:
        """An executor, and a job for it. task: of `fgl.testing.shards`."""
        executor = self.make()
        folder.mkdir(exist_ok=True)
        images = tuple(1 + index % 3 for index in indexes)
        device = executor.device("cpu")
        return executor, ShardJob(f"{shards.__name__}:{task}", str(folder), indexes, images, device, str(folder))

    def test_each_shard_is_filled_once_and_all_are_when_it_returns(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write")
        assert executor.run(job, lambda count: None) is None  # type: ignore[func-returns-value]
        assert {path.name for path in tmp_path.iterdir()} == {str(index) for index in SHARDS}

    def test_shards_are_filled_on_the_device_of_the_job(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write")
        executor.run(job, lambda count: None)
        used = {path.read_text().partition(":")[0] for path in tmp_path.iterdir()}
        assert used == {job.device.partition(":")[0]}, "another kind of device makes other images"

    def test_a_commit_beside_the_next_shard_is_not_lost(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write_late")
        executor.run(job, lambda count: None)
        assert {path.name for path in tmp_path.iterdir()} == {str(index) for index in SHARDS}

    def test_all_images_are_told(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write")
        told: list[int] = []
        executor.run(job, told.append)
        assert sum(told) == sum(job.images)

    def test_an_error_of_filling_reaches_the_caller(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "fail")
        with pytest.raises(ModelError, match="out of memory at shard 2"):
            executor.run(job, lambda count: None)

    def test_no_shards_are_no_work(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path, "write", ())
        executor.run(job, lambda count: None)
        assert not list(tmp_path.iterdir())

    def test_it_can_be_asked_again(self, tmp_path: Path) -> None:
        executor, job = self.job(tmp_path / "1", "write", SHARDS[:2])
        _, other = self.job(tmp_path / "2", "write", SHARDS[:2])
        for one in (job, other):
            executor.run(one, lambda count: None)
        assert all(len(list((tmp_path / number).iterdir())) == 2 for number in "12")

    def test_a_device_is_named(self) -> None:
        executor = self.make()
        assert executor.device("cpu").partition(":")[0] == "cpu"
        best = executor.device("auto")
        assert isinstance(best, str)
        assert best != "auto"
        assert executor.device(best) == best, f"auto is {best} here, and {best} is something else"

    def test_a_device_that_is_not_there_is_a_model_error(self) -> None:
        with pytest.raises(ModelError):
            self.make().device("no-such-device")

    def test_it_says_what_a_figure_depends_on(self) -> None:
        found = self.make().environment()
        assert isinstance(found, Mapping)
        assert found, "environment() says nothing: versions, threads and hardware belong there"
        assert all(isinstance(key, str) for key in found), f"keys of environment(): {list(found)}"
        strict_json.dumps(strict_json.finite(found))  # raises where JSON does not have a value
        assert self.make().environment() == found, "environment() differs from call to call"
