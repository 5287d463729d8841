"""The run directory: a record is a commit, and a commit that no longer fits its files is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgl.contracts.generator import PlanItem, Shard
from fgl.core.seeds import image_seed
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis.forms import png
from fgl.core.synthesis.plan import redraw, set_digest
from fgl.core.synthesis.shards import EncodedImage, ShardStore, read_plan, read_shards, write_plan
from fgl.errors import StoreError

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
    run.record("plan", {"a": 1}, [output], 0.5, {"n": 1})
    record = run.committed("plan", {"a": 1})
    assert record is not None
    assert record["value"] == {"n": 1}
    assert run.committed("plan", {"a": 2}) is None
    output.write_bytes(b"two")
    assert run.committed("plan", {"a": 1}) is None
    output.unlink()
    assert run.committed("plan", {"a": 1}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}'])
def test_a_damaged_record_is_no_commit(tmp_path: Path, text: str) -> None:
    run = RunDir(tmp_path)
    run.record("plan", {"x": 1}, [], 0.0, None)
    (tmp_path / "stages" / "plan.json").write_text(text)
    assert run.committed("plan", {"x": 1}) is None


def test_a_write_leaves_no_temporary_name_behind(tmp_path: Path) -> None:
    RunDir(tmp_path).write(tmp_path / "deep" / "file", b"x")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def store(folder: Path, recipe: str = "recipe") -> ShardStore:
    return ShardStore(RunDir(folder), folder / "shards", recipe, NAMES)


def picture(item: PlanItem) -> np.ndarray:
    """What a generator makes of an item, the same whenever it is asked."""
    return np.random.default_rng([*item.image_id.encode()]).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def drawn(items: Sequence[PlanItem], pixels: Sequence[np.ndarray]) -> dict[str, EncodedImage]:
    return {item.image_id: EncodedImage(item, png(image)) for item, image in zip(items, pixels, strict=True)}


def fill(kept: ShardStore, shards: list[Shard]) -> list[str]:
    """Fill a folder as a run does; the ids of the images that had to be made."""
    made: list[str] = []

    for one in kept.begin(shards):
        missing = kept.missing(one.items)
        made += [item.image_id for item in missing]
        kept.write(one, drawn(missing, [picture(item) for item in missing]))
    kept.end(shards)
    return made


def held(kept: ShardStore) -> list[str]:
    rows = list(read_shards(kept.folder))
    assert all(np.array_equal(rgb, picture(PlanItem(row["image_id"], 0, "", 0, "", None, 0))) for row, rgb in rows)
    return [row["image_id"] for row, _ in rows]


def test_a_shard_gives_back_its_images_and_survives_only_undamaged(tmp_path: Path) -> None:
    kept, (one, pixels) = store(tmp_path), shard()
    kept.write(one, drawn(one.items, pixels))
    assert kept.done(one)
    assert not store(tmp_path, "other").done(one)
    assert not kept.done(shard(1)[0])
    assert not kept.done(Shard(0, one.items[:-1]))
    rows = list(read_shards(kept.folder))
    assert [row["image_id"] for row, _ in rows] == [item.image_id for item in one.items]
    assert np.array_equal(np.stack([rgb for _, rgb in rows]), pixels)
    path = kept.folder / "shard-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not kept.done(one)
    with pytest.raises(StoreError, match="damaged"):
        list(read_shards(kept.folder))


def test_a_flipped_bit_in_a_manifest_or_a_record_is_seen(tmp_path: Path) -> None:
    kept, (one, _) = store(tmp_path), shard()
    fill(kept, [one])
    kept.run.record("evaluate", {"a": 1}, [], 1.0, {"top1": 0.5})
    for path, whole in (
        (kept.folder / "shard-00000.json", lambda: kept.done(one)),
        (tmp_path / "stages" / "evaluate.json", lambda: kept.run.committed("evaluate", {"a": 1}) is not None),
    ):
        data = path.read_bytes()
        assert whole()
        for place in range(len(data) - 1):  # the last byte is a line feed, which says nothing
            changed = bytearray(data)
            changed[place] ^= 4
            path.write_bytes(changed)
            assert not whole(), f"{bytes(changed)!r} passed for {data!r}"
        path.write_bytes(data)


def cut(items: list[PlanItem], size: int) -> list[Shard]:
    return [Shard(n, tuple(items[i : i + size])) for n, i in enumerate(range(0, len(items), size))]


def test_images_move_between_shards_and_only_new_ones_are_made(tmp_path: Path) -> None:
    items = [item for index in range(3) for item in shard(index)[0].items]
    kept = store(tmp_path)
    assert len(fill(kept, cut(items, 5))) == 18
    new = shard(9)[0].items
    longer = [*items[:2], *new[:3], *items[2:], *new[3:]]
    assert sorted(fill(kept, cut(longer, 4))) == sorted(item.image_id for item in new)
    assert held(kept) == [item.image_id for item in longer]
    assert fill(kept, cut(items, 5)) == []
    assert held(kept) == [item.image_id for item in items]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fgl-files", "shards"]


def test_an_accepted_draw_moves_as_the_image_that_it_stands_for(tmp_path: Path) -> None:
    first = [replace(item, seed=image_seed(7, item.image_id)) for index in range(2) for item in shard(index)[0].items]
    again = redraw(redraw(first[4], 7), 7)
    kept = ShardStore(RunDir(tmp_path), tmp_path / "shards", "recipe", NAMES, seed=7)
    for one in kept.begin(cut(first, 5)):
        made = drawn(one.items, [picture(item) for item in one.items])
        kept.write(
            one, {**made, again.image_id: EncodedImage(again, png(picture(again)))} if first[4] in one.items else made
        )
    kept.end(cut(first, 5))
    assert fill(kept, cut(first[3:], 4)) == []
    rows = {row["image_id"]: row for row, _ in read_shards(kept.folder)}
    assert (rows[again.image_id]["seed"], rows[again.image_id]["draw"]) == (again.seed, 2)
    assert fill(kept, cut(first[2:], 3)) == [first[2].image_id], "and once more, from where it has moved to"
    # for a run with another seed it is another image
    other = [replace(item, seed=image_seed(8, item.image_id)) for item in first]
    assert len(fill(replace(kept, seed=8), cut(other, 4))) == len(first)


def test_notes_on_images_stay_with_them_whatever_process_goes_on(tmp_path: Path) -> None:
    items = [item for index in range(3) for item in shard(index)[0].items]
    shards, kept = cut(items, 6), store(tmp_path)
    notes = [{"batch_size": 8}, {"batch_size": 2, "batch_sizes": [8, 4, 2]}, {"batch_size": 6, "batch_sizes": [8, 6]}]
    kept.begin(shards)
    for one, said in zip(shards, notes, strict=True):
        kept.write(one, drawn(one.items, [picture(item) for item in one.items]), said)
    kept.end(shards)
    whole = {"batch_size": 6, "batch_sizes": [8, 4, 2, 6]}
    assert store(tmp_path).notes(shards) == whole
    assert store(tmp_path).notes(shards[:1]) == {"batch_size": 8}
    assert fill(store(tmp_path), cut(items[7:], 4)) == []
    assert store(tmp_path).notes(cut(items[7:], 4)) == whole, "they did not move with the images"


def test_images_of_another_recipe_are_made_again(tmp_path: Path) -> None:
    items = list(shard()[0].items)
    fill(store(tmp_path), cut(items, 4))
    assert len(fill(store(tmp_path, "other"), cut(items, 4))) == 6


@pytest.mark.parametrize("calls", range(1, 30))
def test_killed_anywhere_while_images_move_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Stop before the n-th thing that is done to the disk, and go on as another process would."""
    items = [item for index in range(3) for item in shard(index)[0].items]
    fill(store(tmp_path), cut(items, 5))
    left = calls

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return function(*arguments, **more)

        return call

    new = shard(9)[0].items
    longer = [*new[:3], *items, *new[3:]]
    with monkeypatch.context() as patch:
        for name in ("replace", "link", "fsync"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        with suppress(KeyboardInterrupt):
            fill(store(tmp_path), cut(longer, 4))
    made = fill(store(tmp_path), cut(longer, 4))
    assert set(made) <= {item.image_id for item in new}, "an image that was there was synthesized again"
    assert held(store(tmp_path)) == [item.image_id for item in longer]


def test_datasets_opens_shards_with_decoded_images_and_named_labels(tmp_path: Path) -> None:
    from datasets import load_dataset

    kept, (one, pixels) = store(tmp_path), shard()
    kept.write(one, drawn(one.items, pixels))
    data = load_dataset(
        "parquet", data_files=str(kept.folder / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.features["label"].names == list(NAMES)
    assert np.array_equal(np.asarray(data[1]["image"].convert("RGB")), pixels[1])


def test_checkpoints_are_found_by_the_same_inputs_and_undamaged_only(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    kept = run.checkpoints("baseline:centralized", "inputs")
    assert kept.load() is None
    arrays = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)}
    kept.save(arrays)
    kept.child("1/client-0").save({"weights": np.zeros(2)})
    found = run.checkpoints("baseline:centralized", "inputs").load()
    assert found is not None
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert found["step"].shape == ()
    assert run.checkpoints("baseline:centralized", "other inputs").load() is None
    (path,) = tmp_path.glob("checkpoints/baseline-centralized/fit.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert kept.load() is None
    assert kept.child("1/client-0").load() is not None
    assert kept.child("1/client-1").load() is None
    run.record("baseline:centralized", {}, [], 0.0, None)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_plan_is_read_back_as_written(tmp_path: Path) -> None:
    run, shards = RunDir(tmp_path), [shard(0)[0], shard(1, 2)[0]]
    write_plan(run, tmp_path / "plan.parquet", shards)
    assert read_plan(tmp_path / "plan.parquet") == shards


def test_the_digest_of_a_set_is_of_its_images_in_any_order() -> None:
    images = [("b", 1, b"22"), ("a", 0, b"11")]
    assert set_digest(images) == set_digest(reversed(images))
    assert set_digest(images) != set_digest([("b", 1, b"22"), ("a", 1, b"11")])
    assert set_digest(images) != set_digest([("b", 1, b"22"), ("a", 0, b"12")])


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from fgl.core.store.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock(): pass"
    )
    with RunDir(tmp_path).lock():
        other = subprocess.run(
            [sys.executable, "-c", source, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert other.returncode != 0
    assert f"in use by process {os.getpid()} on " in other.stderr
    with RunDir(tmp_path).lock():
        pass


def test_a_file_in_the_way_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(StoreError, match="choose another folder"), RunDir(tmp_path / "taken").lock():
        pass
