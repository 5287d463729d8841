"""Fills shards: the generator paints, and threads beside it encode pictures, assemble a shard and commit it.

The generator waits for none of that, unless a commit takes longer than the next shard's first batch: the second one is
not begun before it. So a process that is killed loses one finished shard at most, and the batch that it was painting.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.generator import Shard
from fgl.contracts.product import IMAGES, shape_of
from fgl.core.synthesis import plan
from fgl.core.synthesis.shards import EncodedImage, ShardStore
from fgl.errors import BrokenPluginError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.generator import PlanItem, Synthesizer
    from fgl.core.session import Session


MOST_DRAWS = 20
"""Times that an image is drawn before its prompt is given up as one that is always blanked."""

# Encoding an image takes a fraction of painting it; more threads than this only take cores from the painter.
_WRITERS = max(1, min(4, (os.cpu_count() or 1) // 4))


def fill(
    session: Session, store: ShardStore, shards: list[Shard], conditioning: Callable[[], Conditioning], label: str
) -> tuple[int, Mapping[str, object]]:
    """Make `store` hold exactly the shards, synthesizing the images that it does not hold in any shard.

    conditioning: asked for only where something is missing. label: what the progress display calls it. Returns how many
    images were made, and the generator's notes on all of the set: those of other processes are with their shards."""
    left = store.begin(shards)
    missing = {shard.index: store.missing(shard.items) for shard in left}
    total = sum(len(items) for items in missing.values())
    with (
        session.progress.track(label, total) as task,
        ThreadPoolExecutor(_WRITERS, "fgl-encode") as pool,
        _Commits() as commits,
    ):
        drawn_from = session.product.synthesized
        synthesizer = session.generator.synthesizer(session.device) if total and drawn_from else None

        def one(shard: Shard) -> None:
            made: dict[str, Future[EncodedImage]] = {}
            if missing[shard.index]:
                wanted = Shard(shard.index, missing[shard.index])
                for item, value in _items(session, synthesizer, wanted, conditioning(), task.advance):
                    commits.wait()
                    # copied, since a generator may use its buffer again while a thread still reads it
                    made[item.image_id] = pool.submit(_encode, store, item, value.copy())
            notes = synthesizer.notes() if synthesizer is not None and made else {}
            commits.wait()
            commits.begin(lambda: store.write(shard, {name: drawn.result() for name, drawn in made.items()}, notes))

        session.executor.run(left, one)
        commits.wait()
    lacking = [shard.index for shard in left if not store.is_committed(shard)]
    if lacking:
        title = session.manager.registry.find("executor", session.config.executor.name).title
        raise BrokenPluginError(
            f"{title}: Executor.run() returned before shard {lacking[0]} was committed: it must call `work` on every "
            "shard, and a process that does must not end before the threads that it has begun"
        )
    store.end(shards)
    return total, store.notes(shards)


def images(
    session: Session, shards: list[Shard], conditioning: Conditioning, label: str, by: Synthesizer | None = None
) -> Iterator[tuple[PlanItem, Any]]:
    """Every item of the shards with its pixels, uint8 [h, w, 3], or values of another product; nothing is kept. by: who
    makes them; None: the session's generator."""
    synthesizer = session.generator.synthesizer(session.device) if by is None else by
    with session.progress.track(label, sum(len(shard.items) for shard in shards)) as task:
        for shard in shards:
            for item, pixels in _paint(session, synthesizer, shard, conditioning, task.advance):
                yield item, pixels.copy()  # a generator may use its buffer again


class _Commits:
    """The commit of a shard, beside the painting of the next one. Left by an error, it ends what was begun."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "fgl-commit")
        self._begun: deque[Future[None]] = deque()

    def __enter__(self) -> _Commits:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def begin(self, work: Callable[[], None]) -> None:
        self._begun.append(self._pool.submit(work))

    def wait(self) -> None:
        """Until nothing is under way. Raises what went wrong there."""
        while self._begun:
            # an executor may paint in several threads: each sees to what is left
            with suppress(IndexError):
                self._begun.popleft().result()


def _values_of(session: Session, batch: Any) -> Any:
    """The items of a batch, [b, ...]. Raises BrokenPluginError where they are not what the generator says they are:
    they would be stretched in silence, or be an error of a library's after hours."""
    product, name = session.product, session.config.generator.name
    values = getattr(batch, "pixels" if product.kind == IMAGES else "values", None)
    shape, dtype = product.shape, np.dtype(product.dtype)
    if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape[1:] != shape:
        made = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
        sizes = ", ".join(map(str, ("n", *shape)))
        raise BrokenPluginError(f"generator {name!r} made {made}; expected {product.kind} of {dtype} [{sizes}]")
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise BrokenPluginError(f"generator {name!r} made {shape_of(product)} with NaN or infinite values")
    beyond = [position for position in batch.rejected if not 0 <= position < len(values)]
    if beyond:
        raise BrokenPluginError(
            f"generator {name!r} says that the image at {beyond[0]} was blanked; it made {len(values)}, from 0 on"
        )
    return values


def _encode(store: ShardStore, item: PlanItem, value: Any) -> EncodedImage:
    return EncodedImage(item, store.form.encode(value))


def _items(
    session: Session, synthesizer: Any, shard: Shard, conditioning: Conditioning, advance: Callable[[int], None]
) -> Iterator[tuple[PlanItem, Any]]:
    """Every item of the shard with what is kept of it: of a product that is not synthesized, its row's weight."""
    if session.product.synthesized:
        yield from _paint(session, synthesizer, shard, conditioning, advance)
        return
    for item in shard.items:
        advance(1)
        yield item, np.asarray(conditioning.weight[item.conditioning])


def _paint(
    session: Session, synthesizer: Any, shard: Shard, conditioning: Conditioning, advance: Callable[[int], None]
) -> Iterator[tuple[PlanItem, Any]]:
    """Every item of the shard with its value, [*shape]; where the generator blanks an image, its next draw."""
    wanted, again = list(shard.items), []
    for _ in range(MOST_DRAWS):
        place = 0
        for painted in synthesizer.synthesize(Shard(shard.index, tuple(wanted)), conditioning, advance):
            values = _values_of(session, painted)
            blanked = set(painted.rejected)
            for position, value in enumerate(values[: len(wanted) - place]):
                item = wanted[place + position]
                if position in blanked:
                    again.append(plan.redraw(item, session.config.seed))
                else:
                    yield item, value
            place += len(values)
        if place != len(wanted):
            name = session.config.generator.name
            raise BrokenPluginError(f"generator {name!r} made {place} images where {len(wanted)} were asked for")
        if not again:
            return
        # Counted when they were first painted.
        wanted, again, advance = again, [], lambda count: None
    names = sorted({session.info.class_names[item.class_id] for item in wanted})
    raise ModelError(
        f"{len(wanted)} images of {', '.join(names)} were blanked by the safety checker in each of {MOST_DRAWS} draws; "
        "change the prompts of these classes, or switch generator.safety_checker off"
    )
