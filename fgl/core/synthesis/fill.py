"""Fills shards: the generator paints, and threads beside it encode pictures, assemble a shard and commit it.

The generator waits for none of that, unless a commit takes longer than the next shard's first batch: the second one is
not begun before it. So a process that is killed loses one finished shard at most, and the batch that it was painting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.executor import ShardJob, SupportsUsage
from fgl.core.synthesis.order import Filling, Order
from fgl.core.synthesis.painting import Painting
from fgl.core.synthesis.shards import EncodedImage, ShardStore
from fgl.errors import BrokenPluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.generator import PlanItem, Shard, Synthesizer
    from fgl.core.session import Session


# Encoding an image takes a fraction of painting it; more threads than this only take cores from the painter.
_WRITERS = max(1, min(4, (os.cpu_count() or 1) // 4))
_TASK = "fgl.core.synthesis.fill:fill_order"


def fill(
    session: Session, store: ShardStore, shards: list[Shard], conditioning: Callable[[], Conditioning], label: str
) -> tuple[int, Mapping[str, object]]:
    """Make `store` hold exactly the shards, synthesizing the images that it does not hold in any shard.

    conditioning: asked for only where something is missing. label: what the progress display calls it. Returns how many
    images were made, and the generator's notes on all of the set: those of other processes are with their shards. Notes
    of the executor are beside them."""
    left = store.begin(shards)
    if left:
        store.announce(left)
    total, usage = _filled(session, store, left, conditioning, label)
    store.end(shards)
    return total, {**store.notes(shards), **usage}


def fill_part(
    session: Session, store: ShardStore, shards: list[Shard], conditioning: Callable[[], Conditioning], label: str
) -> tuple[int, int]:
    """Fill those of the shards that are missing, beside other processes that fill other shards of the same plan; see
    `ShardStore.join`. Arguments as those of `fill`. Returns how many shards were filled, and how many images made."""
    left = store.join(shards)
    total, _ = _filled(session, store, left, conditioning, label)
    return len(left), total


def _filled(
    session: Session, store: ShardStore, left: list[Shard], conditioning: Callable[[], Conditioning], label: str
) -> tuple[int, Mapping[str, object]]:
    """Have the executor fill shards. Returns how many images were made, and the executor's notes."""
    missing = {shard.index: store.missing(shard.items) for shard in left}
    total = sum(len(items) for items in missing.values())
    if not left:
        return 0, {}
    planned = {shard.index: shard for shard in left}
    filling = Filling(Painting.of(session), session.generator, store, planned, missing, conditioning)
    job = ShardJob(
        task=_TASK,
        order=Order(filling, session),
        shards=tuple(planned),
        images=tuple(len(items) for items in missing.values()),
        device=session.device,
        run=str(Path(os.path.abspath(store.run.root))),
    )
    with session.progress.track(label, total) as task:
        session.executor.run(job, task.advance)
    lacking = [shard.index for shard in left if not store.is_committed(shard)]
    if lacking:
        title = session.manager.registry.find("executor", session.config.executor.name).title
        raise BrokenPluginError(
            f"{title}: Executor.run() returned before shard {lacking[0]} was committed: it must have every shard of "
            "the job filled by fgl.fill_shard() or fgl.fill_shards(), and wait for these calls to return"
        )
    return total, session.executor.usage() if isinstance(session.executor, SupportsUsage) else {}


def fill_order(
    order: Order,
    device: str,
    indexes: Iterable[int],
    committed: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """The task of a `ShardJob`, see `fgl.contracts.executor.fill_shards`."""
    filling = order.filling
    with ThreadPoolExecutor(_WRITERS, "fgl-encode") as pool, _Commits() as commits:
        for index in indexes:
            shard, made, synthesizer = filling.shards[index], {}, filling.synthesizer(device, index)
            for item, value in filling.items(synthesizer, index, advance):
                commits.wait()
                # copied, since a generator may use its buffer again while a thread still reads it
                made[item.image_id] = pool.submit(_encode, filling.store, item, value.copy())
            notes = synthesizer.notes() if synthesizer is not None and made else {}
            commits.wait()
            commits.begin(filling, shard, made, notes, committed)
        commits.wait()


def images(
    session: Session, shards: list[Shard], conditioning: Conditioning, label: str, by: Synthesizer | None = None
) -> Iterator[tuple[PlanItem, Any]]:
    """Every item of the shards with its pixels, uint8 [h, w, 3], or values of another product; nothing is kept. by: who
    makes them; None: the session's generator."""
    synthesizer = session.generator.synthesizer(session.device) if by is None else by
    painting = Painting.of(session)
    with session.progress.track(label, sum(len(shard.items) for shard in shards)) as task:
        for shard in shards:
            for item, pixels in painting.paint(synthesizer, shard, conditioning, task.advance):
                yield item, pixels.copy()  # a generator may use its buffer again


class _Commits:
    """The commit of a shard, beside the painting of the next one. Left by an error, it ends what was begun."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "fgl-commit")
        self._begun: Future[None] | None = None

    def __enter__(self) -> _Commits:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def begin(
        self,
        filling: Filling,
        shard: Shard,
        made: Mapping[str, Future[EncodedImage]],
        notes: Mapping[str, object],
        committed: Callable[[int], None],
    ) -> None:
        """Encode what was made and commit it. committed: called with the shard's number then."""

        def work() -> None:
            filling.commit(shard, {name: drawn.result() for name, drawn in made.items()}, notes)
            committed(shard.index)

        self._begun = self._pool.submit(work)

    def wait(self) -> None:
        """Until nothing is under way. Raises what went wrong there."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()


def _encode(store: ShardStore, item: PlanItem, value: Any) -> EncodedImage:
    return EncodedImage(item, store.form.encode(value))
