"""What every executor must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fgl.contracts.federation import Executor
from fgl.contracts.generator import PlanItem, Shard
from fgl.errors import ModelError
from fgl.io import strict_json


class ExecutorContract:
    """An executor has each shard worked on once, whole, and returns once all of them are."""

    @staticmethod
    def make() -> Executor:
        raise NotImplementedError("set `make = staticmethod(lambda: YourExecutor(YourOptions()))` in the test class")

    @pytest.fixture
    def shards(self) -> list[Shard]:
        """Five shards of up to three images, with a gap in their numbers."""
        return [Shard(index, tuple(_item(index, k) for k in range(1 + index % 3))) for index in (0, 1, 2, 5, 6)]

    def test_each_shard_is_worked_on_once_and_all_are_when_it_returns(
        self, shards: list[Shard], tmp_path: Path
    ) -> None:
        def work(shard: Shard) -> None:
            with (tmp_path / str(shard.index)).open("x") as file:  # a second time, it is there already
                file.write("done")

        assert self.make().run(shards, work) is None  # type: ignore[func-returns-value]
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            str(shard.index): "done" for shard in shards
        }

    def test_a_shard_comes_whole(self, shards: list[Shard], tmp_path: Path) -> None:
        def work(shard: Shard) -> None:
            (tmp_path / str(shard.index)).write_text(" ".join(item.image_id for item in shard.items))

        self.make().run(shards, work)
        for shard in shards:
            assert (tmp_path / str(shard.index)).read_text() == " ".join(item.image_id for item in shard.items)

    def test_a_commit_that_ends_after_the_work_is_not_lost(self, shards: list[Shard], tmp_path: Path) -> None:
        """As in a run: a thread beside it commits a shard while the next one is worked on."""

        def commit(shard: Shard) -> None:
            with (tmp_path / str(shard.index)).open("x") as file:
                file.write("committed")

        with ThreadPoolExecutor(1) as beside:

            def work(shard: Shard) -> None:
                beside.submit(commit, shard)

            self.make().run(shards, work)
        assert {path.name for path in tmp_path.iterdir()} == {str(shard.index) for shard in shards}

    def test_an_error_of_the_work_reaches_the_caller(self, shards: list[Shard]) -> None:
        def work(shard: Shard) -> None:
            if shard.index == 2:
                raise ModelError("out of memory at shard 2")

        with pytest.raises(ModelError, match="out of memory at shard 2"):
            self.make().run(shards, work)

    def test_no_shards_are_no_work(self) -> None:
        def work(shard: Shard) -> None:
            raise AssertionError("there is no shard to work on")

        self.make().run([], work)

    def test_it_can_be_asked_again(self, shards: list[Shard], tmp_path: Path) -> None:
        executor = self.make()
        for number in (1, 2):
            (tmp_path / str(number)).mkdir()
            executor.run(shards, lambda shard, n=number: (tmp_path / str(n) / str(shard.index)).touch())  # type: ignore[misc]
            assert len(list((tmp_path / str(number)).iterdir())) == len(shards)

    def test_a_device_is_named(self) -> None:
        executor = self.make()
        assert executor.device("cpu") == "cpu"
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


def _item(shard: int, number: int) -> PlanItem:
    return PlanItem(f"{shard:032x}{number:032x}", 0, "0" * 64, 0, "", None, 17 * shard + number)
