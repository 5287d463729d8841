"""Fills shards: the generator paints, threads beside it encode and commit, so that it never waits for a file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

from fgl.core import plan
from fgl.core.errors import ModelError
from fgl.core.shards import Drawn, ShardStore, png
from fgl.core.types import Shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgl.core.session import Session
    from fgl.core.types import Conditioning, PlanItem

MOST_DRAWS = 20
"""Times that an image is drawn before its prompt is given up as one that is always blanked."""

# Encoding an image takes a fraction of painting it; more threads than this only take cores from the painter.
_WRITERS = max(1, min(4, (os.cpu_count() or 1) // 4))


def fill(
    session: Session, store: ShardStore, shards: list[Shard], conditioning: Callable[[], Conditioning], label: str
) -> tuple[int, Mapping[str, object]]:
    """Make `store` hold exactly the shards, synthesizing the images that it does not hold in any shard.

    conditioning: asked for only where something is missing. label: what the progress display calls it. Returns how many
    images were made, and the generator's notes."""
    left = store.begin(shards)
    missing = {shard.index: store.missing(shard.items) for shard in left}
    total = sum(len(items) for items in missing.values())
    notes: Mapping[str, object] = {}
    with session.progress.track(label, total) as task, Writer(store) as writer:
        synthesizer = session.generator.synthesizer(session.device) if total else None

        def one(shard: Shard) -> None:
            made: dict[str, Future[Drawn]] = {}
            if missing[shard.index]:
                wanted = Shard(shard.index, missing[shard.index])
                for item, pixels in _paint(session, synthesizer, wanted, conditioning(), task.advance):
                    made[item.image_id] = writer.encode(item, pixels)
            writer.commit(shard, made)

        session.executor.run(left, one)
        if synthesizer is not None:
            notes = dict(synthesizer.notes())
    store.end(shards)
    return total, notes


def _paint(
    session: Session, synthesizer: Any, shard: Shard, conditioning: Conditioning, advance: Callable[[int], None]
) -> Iterator[tuple[PlanItem, Any]]:
    """Every item of the shard with its pixels, [h, w, 3]; where the generator blanks an image, its next draw."""
    wanted, again = list(shard.items), []
    for _ in range(MOST_DRAWS):
        place = 0
        for painted in synthesizer.synthesize(Shard(shard.index, tuple(wanted)), conditioning, advance):
            blanked = set(painted.blanked)
            for position, pixels in enumerate(painted.pixels):
                item = wanted[place + position]
                if position in blanked:
                    again.append(plan.redraw(item, session.config.seed))
                else:
                    yield item, pixels
            place += len(painted.pixels)
        if not again:
            return
        # Counted when they were first painted.
        wanted, again, advance = again, [], lambda count: None
    names = sorted({session.info.class_names[item.class_id] for item in wanted})
    raise ModelError(
        f"{len(wanted)} images of {', '.join(names)} were blanked by the safety checker in each of {MOST_DRAWS} draws; "
        "change the prompts of these classes, or switch generator.safety_checker off"
    )


class Writer:
    """Encodes images and commits shards in threads of its own.

    Whatever fails there is raised at the next call, or at the end. No more than two shards are under way, so that
    memory does not grow where the disk is slower than the generator."""

    def __init__(self, store: ShardStore) -> None:
        self._store, self._pool = store, ThreadPoolExecutor(_WRITERS, "fgl-writer")
        self._commits: deque[Future[None]] = deque()
        self._lock = Lock()  # executors may fill several shards at once

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self._settle(0)

    def encode(self, item: PlanItem, pixels: Any) -> Future[Drawn]:
        if self._commits and self._commits[0].done():
            self._settle(len(self._commits) - 1)
        return self._pool.submit(lambda: Drawn(item, png(pixels)))

    def commit(self, shard: Shard, made: Mapping[str, Future[Drawn]]) -> None:
        # Its images are ahead of it in the queue, so waiting for them in a thread of the pool comes to an end.
        work = self._pool.submit(
            lambda: self._store.write(shard, {name: drawn.result() for name, drawn in made.items()})
        )
        with self._lock:
            self._commits.append(work)
        self._settle(1)

    def _settle(self, left: int) -> None:
        """Wait until at most `left` commits are under way; raise what went wrong in the others."""
        while True:
            with self._lock:
                if len(self._commits) <= left:
                    return
                first = self._commits.popleft()
            first.result()
