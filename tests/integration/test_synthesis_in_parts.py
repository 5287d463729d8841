"""A synthesis that several processes share without knowing each other: parts, in any order, and again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core.orchestrator import reopen
from fgl.core.stages.part import PartResult, synthesize_part
from fgl.core.store import lock
from fgl.errors import StoreError
from tests.helpers.cli import CliResult, run_cli
from tests.helpers.installed import install
from tests.helpers.settings import write_noise
from tests.integration.test_products_of_plugins import PLUGIN

SHARDS = 4


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    """The command line, with a plugin installed that needs no torch."""
    install(monkeypatch, tmp_path / "site", "fgl_colours", PLUGIN, "colours")
    return run_cli(monkeypatch, capsys)


@pytest.fixture
def whole(call: Callable[..., Any], tmp_path: Path) -> tuple[Path, str]:
    """A finished run and the digest of its set: 15 items in 4 shards."""
    (tmp_path / "images").mkdir()
    config = {
        "dataset": str(write_noise(tmp_path / "images")),
        "partition": {"name": "iid", "clients": 2},
        "generator": "colours",
        "synthesis": {"images_per_class": 5, "shard_size": 4},
    }
    result = fgl.run(config, out=tmp_path / "whole")
    return tmp_path / "whole", result["synthetic"]["digest"]


def emptied(run: Path, *but: int) -> Path:
    """A copy of the run without the shards, but for some, and with nothing that follows from them."""
    copy = run.with_name("parts")
    shutil.copytree(run, copy)
    for path in (copy / "server" / "shards").iterdir():
        if int(path.stem.split("-")[1]) not in but:
            path.unlink()
    shutil.rmtree(copy / "train")
    for stage in ("synthesize", "train", "evaluate"):
        (copy / "stages" / f"{stage}.json").unlink()
    return copy


def part(run: Path, rank: int, world: int, wait: float = 20.0) -> PartResult:
    return synthesize_part(reopen(run, NullProgress()), rank, world, wait)


def there(run: Path) -> set[int]:
    return {int(path.stem.split("-")[1]) for path in (run / "server" / "shards").glob("*.json")}


def test_each_part_fills_its_own_missing_shards_and_all_of_them_are_the_set(whole: tuple[Path, str]) -> None:
    run, digest = whole
    copy = emptied(run, 1)
    assert part(copy, 1, 2) == PartResult(shards=1, images=3, missing=2)
    assert there(copy) == {1, 3}
    assert part(copy, 1, 2) == PartResult(shards=0, images=0, missing=2)
    assert part(copy, 0, 2) == PartResult(shards=2, images=8, missing=0)
    result = fgl.resume(copy)
    assert result["synthetic"]["digest"] == digest
    assert result["synthetic"]["reused"] == 15


def test_parts_that_begin_at_the_same_time_do_what_comes_before_once(whole: tuple[Path, str]) -> None:
    run, digest = whole
    copy = emptied(run)
    (copy / "stages" / "plan.json").unlink()
    (copy / "server" / "plan.parquet").unlink()
    gate = threading.Barrier(3)

    def begin(rank: int) -> PartResult:
        session = reopen(copy, NullProgress())
        gate.wait()
        return synthesize_part(session, rank, 3, 30.0)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(begin, range(3)))
    assert [one.shards for one in results] == [2, 1, 1]
    assert there(copy) == set(range(SHARDS))
    assert fgl.resume(copy)["synthetic"]["digest"] == digest


def test_who_completes_a_run_waits_for_its_parts_and_they_for_whoever_holds_it(whole: tuple[Path, str]) -> None:
    run, _ = whole
    with lock.share(run), lock.share(run), pytest.raises(StoreError, match="is in use by"):
        fgl.resume(run)
    with lock.hold(run), pytest.raises(StoreError, match="is in use by"):
        part(run, 0, 1, wait=0.0)


def test_the_command_says_what_is_missing_and_what_completes_the_run(
    call: Callable[..., CliResult], whole: tuple[Path, str]
) -> None:
    copy = emptied(whole[0], 0, 1)
    ended = call("server", "synthesize", str(copy), "--rank", "0", "--world", "2")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == ["part 1 of 2: 1 shard filled, 4 images made", "1 shard of the run still missing"]
    ended = call("server", "synthesize", str(copy))
    assert ended.out.splitlines()[-1] == f"all shards are there: fgl run --resume {copy}"
    ended = call("server", "synthesize", str(copy), "--rank", "2", "--world", "2")
    assert ended.code == 2
    assert "--rank: got 2; expected at most 1: ranks count from 0, and --world is 2" in ended.err
