"""A part of the synthesis, beside other processes that do the other parts: each fills shards of its own.

The processes need nothing of each other but the run directory. The first one brings the run as far as its plan, alone;
then all of them share it, and whoever completes the run has to wait until the last has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.core.server import removed
from fgl.core.stages import adaptation, pipeline, synthesize
from fgl.core.stages import plan as plan_stage
from fgl.core.stages.stage import Done, NotDoneError
from fgl.core.store import lock
from fgl.core.store.owned import digest_of
from fgl.core.synthesis import fill
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.stages.plan import Plan
    from fgl.core.synthesis.shards import ShardStore


_AGAIN = 0.2  # seconds between two tries
_LAST = plan_stage.STAGE.name


@dataclass(frozen=True, slots=True)
class PartResult:
    """What one process has done of a synthesis."""

    shards: int
    """Shards that it has filled."""
    images: int
    """Images that it has made for them."""
    missing: int
    """Shards of the whole plan that nobody had filled when it ended."""


def synthesize_part(session: Session, rank: int, world: int, wait: float) -> PartResult:
    """Fill the missing ones of the shards whose number leaves `rank` when it is divided by `world`.

    Args:
        session: The run, which nobody holds.
        rank: From 0 to world - 1.
        world: Into how many parts the shards are divided.
        wait: Seconds to wait for another process that holds the run, or that brings it as far as its plan.

    Raises FGLError, StoreError where another process holds the run for longer.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            with lock.share(session.run.root):
                begun = _begun(session)
                if begun is not None:
                    return _fill(*begun, rank, world)
            with session.run.lock():
                _begin(session)
        except StoreError as error:
            if " is in use by " not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN)


def _begin(session: Session) -> None:
    """As far as the plan, whose shards are then noted as fgl's."""
    removed.refresh(session)
    done = pipeline.run(session, _LAST)
    store, planned = _store(session, done), plan_stage.planned(session, done)
    store.begin(planned.shards)
    store.announce(planned.shards)


def _begun(session: Session) -> tuple[Session, ShardStore, Plan] | None:
    """The session that synthesizes, its shards and its plan; None where that has to be begun. Writes nothing."""
    done = Done()
    try:
        for stage in pipeline.upto(session, _LAST):
            inputs = stage.inputs(session, done)
            record = session.run.committed(stage.recorded_as(session), inputs)
            if record is None:
                return None
            stage.note(session, done, digest_of(inputs), record["value"])
        store, planned = _store(session, done), plan_stage.planned(session, done)
        if store.is_begun(planned.shards):
            return adaptation.adapted(session, done), store, planned
    except (NotDoneError, StoreError):  # damaged, and made again by whoever holds the run
        pass
    return None


def _store(session: Session, done: Done) -> ShardStore:
    return synthesize.shard_store(adaptation.adapted(session, done))


def _fill(session: Session, store: ShardStore, planned: Plan, rank: int, world: int) -> PartResult:
    own = [shard for shard in planned.shards if shard.index % world == rank]
    label = f"synthesize (part {rank + 1} of {world})"
    shards, images = fill.fill_part(session, store, own, lambda: planned.conditioning, label)
    missing = sum(not store.is_committed(shard) for shard in planned.shards)
    return PartResult(shards, images, missing)
