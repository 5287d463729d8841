"""Painting and committing side by side: who waits for whom, and what is lost when either stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fgl.contracts.executor import fill_shards
from fgl.contracts.generator import ImageBatch, PlanItem, Shard
from fgl.contracts.product import Product
from fgl.contracts.progress import NullProgress
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis.fill import fill
from fgl.core.synthesis.shards import ShardStore, read_shards
from fgl.errors import BrokenPluginError, StoreError

NAMES = ["a", "b"]
SECONDS = 20.0
"""Before a wait that nobody ends counts as one that never would."""


@dataclass
class Painter:
    """A generator that paints batches of two and says when one is begun. before: called with the batch's number."""

    before: Callable[[int], None] = lambda number: None
    batches: int = 0
    begun: list[threading.Event] = field(default_factory=lambda: [threading.Event() for _ in range(99)])

    def synthesizer(self, device: str) -> Painter:
        return self

    def synthesize(self, shard: Shard, conditioning: Any, advance: Callable[[int], None]) -> Iterator[ImageBatch]:
        for start in range(0, len(shard.items), 2):
            items = shard.items[start : start + 2]
            self.begun[self.batches].set()
            self.before(self.batches)
            self.batches += 1
            advance(len(items))
            yield ImageBatch(np.stack([np.full((8, 8, 3), item.seed, dtype=np.uint8) for item in items]))

    def notes(self) -> dict[str, object]:
        return {}


def shards(count: int) -> list[Shard]:
    """Of four images: two batches."""
    return [
        Shard(n, tuple(PlanItem(f"{n}-{k}", 0, "row", 0, "", None, 4 * n + k) for k in range(4))) for n in range(count)
    ]


def run(painter: Painter, kept: ShardStore, wanted: list[Shard]) -> int:
    one_by_one = SimpleNamespace(run=lambda job, advance: fill_shards(job, job.shards, advance=advance))
    session: Any = SimpleNamespace(
        progress=NullProgress(),
        generator=painter,
        device="cpu",
        executor=one_by_one,
        config=SimpleNamespace(seed=0, generator=SimpleNamespace(name="painter")),
        info=SimpleNamespace(class_names=NAMES),
        product=Product("images", (8, 8, 3), "uint8"),
    )
    done, _ = fill(session, kept, wanted, lambda: None, "synthesize")  # type: ignore[arg-type,return-value]
    return done


@pytest.fixture
def kept(tmp_path: Path) -> ShardStore:
    return ShardStore(RunDir(tmp_path), tmp_path / "shards", "recipe", NAMES)


def test_the_next_shard_is_begun_while_one_is_being_committed(
    kept: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter, write = Painter(), ShardStore.write

    def slow(self: ShardStore, shard: Shard, *rest: Any) -> None:
        if shard.index == 0:
            assert painter.begun[2].wait(SECONDS), "the generator waited for the commit"
        write(self, shard, *rest)

    monkeypatch.setattr(ShardStore, "write", slow)
    assert run(painter, kept, shards(2)) == 8
    assert [int(pixels[0, 0, 0]) for _, pixels in read_shards(kept.folder)] == list(range(8))


def test_no_second_batch_is_begun_before_the_last_shard_is_committed(
    kept: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill costs: the shards that are not committed when a batch is begun."""
    wanted, lost, gate = shards(3), [], threading.Event()

    def look(number: int) -> None:
        if number == 2:
            gate.set()
        lost.append(sum(not kept.done(shard) for shard in wanted[: number // 2]))

    painter, write = Painter(look), ShardStore.write

    def slow(self: ShardStore, shard: Shard, *rest: Any) -> None:
        gate.wait(SECONDS)
        write(self, shard, *rest)

    monkeypatch.setattr(ShardStore, "write", slow)
    run(painter, kept, wanted)
    assert max(lost) <= 1
    assert [lost[number] for number in (1, 3, 5)] == [0, 0, 0], "at the second batch of a shard all before are there"


def test_a_shard_that_cannot_be_committed_stops_the_next_one_after_a_batch(
    kept: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter, write = Painter(), ShardStore.write

    def full(self: ShardStore, shard: Shard, *rest: Any) -> None:
        if shard.index == 1:
            raise StoreError("the disk is full")
        write(self, shard, *rest)

    monkeypatch.setattr(ShardStore, "write", full)
    with pytest.raises(StoreError, match="the disk is full"):
        run(painter, kept, shards(4))
    assert painter.batches == 5
    assert [kept.done(shard) for shard in shards(4)] == [True, False, False, False]
    monkeypatch.undo()
    assert run(Painter(), kept, shards(4)) == 12


def test_a_generator_that_fails_leaves_the_shard_before_it_committed(
    kept: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, write = threading.Event(), ShardStore.write

    def fail(number: int) -> None:
        if number == 2:
            failed.set()
            raise MemoryError

    def late(self: ShardStore, *rest: Any) -> None:
        failed.wait(SECONDS)
        write(self, *rest)

    monkeypatch.setattr(ShardStore, "write", late)
    with pytest.raises(MemoryError):
        run(Painter(fail), kept, shards(2))
    assert kept.done(shards(2)[0])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            ImageBatch(np.zeros((2, 8, 16, 3), np.uint8)),
            r"uint8 \[2, 8, 16, 3\]; expected images of uint8 \[n, 8, 8, 3\]",
        ),
        (ImageBatch(np.zeros((2, 8, 8), np.uint8)), r"uint8 \[2, 8, 8\]"),
        (ImageBatch(np.zeros((2, 8, 8, 3), np.float32)), "float32"),
        (ImageBatch([[1]]), "made list"),  # type: ignore[arg-type]
        (ImageBatch(np.zeros((2, 8, 8, 3), np.uint8), rejected=(99,)), "image at 99 was blanked; it made 2"),
    ],
)
def test_images_that_are_not_what_the_generator_says_are_its_fault_and_nothing_is_kept(
    kept: ShardStore, made: ImageBatch, said: str
) -> None:
    class Other(Painter):
        def synthesize(self, shard: Shard, conditioning: Any, advance: Callable[[int], None]) -> Iterator[ImageBatch]:
            yield made

    with pytest.raises(BrokenPluginError, match=f"generator 'painter'.*{said}"):
        run(Other(), kept, shards(1))
    assert not list(kept.folder.glob("*.parquet"))
