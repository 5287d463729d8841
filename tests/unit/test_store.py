"""The run directory: a record is a commit, and a commit that no longer fits its files is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fgl.core.errors import StoreError
from fgl.core.plan import set_digest
from fgl.core.store import RunDir, digest_of
from fgl.core.types import PlanItem, Shard

NAMES = ("river", 'a "quoted" name', "林/地")


def shard(index: int = 0, count: int = 6) -> tuple[Shard, np.ndarray]:
    items = tuple(
        PlanItem(f"{index:02d}{k:030x}", k, f"{k:064x}", k % 3, "", None, seed=2**63 - 1 - k) for k in range(count)
    )
    return Shard(index, items), np.random.default_rng(index).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_a_stage_is_committed_until_its_inputs_or_outputs_change(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    output = tmp_path / "server" / "x.bin"
    run.write(output, b"one")
    run.record("plan", digest_of({"a": 1}), [output], 0.5, {"n": 1})
    record = run.committed("plan", digest_of({"a": 1}))
    assert record is not None
    assert record["value"] == {"n": 1}
    assert run.committed("plan", digest_of({"a": 2})) is None
    output.write_bytes(b"two")
    assert run.committed("plan", digest_of({"a": 1})) is None
    output.unlink()
    assert run.committed("plan", digest_of({"a": 1})) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}'])
def test_a_damaged_record_is_no_commit(tmp_path: Path, text: str) -> None:
    run = RunDir(tmp_path)
    run.record("plan", "x", [], 0.0, None)
    (tmp_path / "stages" / "plan.json").write_text(text)
    assert run.committed("plan", "x") is None


def test_a_write_leaves_no_temporary_name_behind(tmp_path: Path) -> None:
    RunDir(tmp_path).write(tmp_path / "deep" / "file", b"x")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_shard_gives_back_its_images_and_survives_only_undamaged(tmp_path: Path) -> None:
    run, (one, pixels) = RunDir(tmp_path), shard()
    run.write_shard(tmp_path, one, pixels, NAMES, "inputs")
    assert run.shard_done(tmp_path, 0, "inputs")
    assert not run.shard_done(tmp_path, 0, "other inputs")
    assert not run.shard_done(tmp_path, 1, "inputs")
    rows = list(run.read_shards(tmp_path))
    assert [row["image_id"] for row, _ in rows] == [item.image_id for item in one.items]
    assert np.array_equal(np.stack([rgb for _, rgb in rows]), pixels)
    path = tmp_path / "shard-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not run.shard_done(tmp_path, 0, "inputs")
    with pytest.raises(StoreError, match="damaged"):
        list(run.read_shards(tmp_path))


def test_datasets_opens_shards_with_decoded_images_and_named_labels(tmp_path: Path) -> None:
    from datasets import load_dataset

    run, (one, pixels) = RunDir(tmp_path), shard()
    run.write_shard(tmp_path, one, pixels, NAMES, "inputs")
    data = load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.features["label"].names == list(NAMES)
    assert np.array_equal(np.asarray(data[1]["image"].convert("RGB")), pixels[1])


def test_a_plan_is_read_back_as_written(tmp_path: Path) -> None:
    run, shards = RunDir(tmp_path), [shard(0)[0], shard(1, 2)[0]]
    run.write_plan(tmp_path / "plan.parquet", shards)
    assert run.read_plan(tmp_path / "plan.parquet") == shards


def test_the_digest_of_a_set_is_of_its_images_in_any_order() -> None:
    images = [("b", 1, b"22"), ("a", 0, b"11")]
    assert set_digest(images) == set_digest(reversed(images))
    assert set_digest(images) != set_digest([("b", 1, b"22"), ("a", 1, b"11")])
    assert set_digest(images) != set_digest([("b", 1, b"22"), ("a", 0, b"12")])


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from fgl.core.store import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock(): pass"
    )
    with RunDir(tmp_path).lock():
        other = subprocess.run(
            [sys.executable, "-c", source, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert other.returncode != 0
    assert f"in use by process {os.getpid()}" in other.stderr
    with RunDir(tmp_path).lock():
        pass


def test_a_file_in_the_way_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(StoreError, match="choose another --out"), RunDir(tmp_path / "taken").lock():
        pass
