"""Synthetic sets of shadow models: images that several sets share are made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import Conditioning
from fgl.contracts.generator import Shard
from fgl.core.stages import synthesize
from fgl.core.store.owned import digest_of
from fgl.core.synthesis import fill
from fgl.core.synthesis.shards import ShardRow, read_plan, read_shards

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.arrays import Array
    from fgl.contracts.generator import PlanItem
    from fgl.core.session import Session
    from fgl.core.stages.plan import Plan


def own_set(session: Session) -> str:
    """Digest of who the images of the run's own synthetic set are, as `scores` has it of shadows."""
    planned = read_plan(session.run.plan_file)
    return identity([item for shard in planned for item in shard.items])


class Images:
    """The synthetic sets of all shadows, with each image made once: those of the run's own set are taken from there,
    and the others are filled together."""

    def __init__(self, session: Session, plans: Mapping[int, Plan]) -> None:
        self.session, self.plans = session, plans
        self._own = read_plan(session.run.plan_file)
        self.own = identity([item for shard in self._own for item in shard.items])
        self._folder = session.run.path("audit", "images")
        self._others = self._fill()

    def identity(self, shadow: int) -> str:
        """Digest of who the images of a shadow's set are, in order: sets of equal digest are one and the same."""
        return identity(self.plans[shadow].items)

    def of(self, shadow: int) -> synthesize.Set:
        """The set of a shadow, as training and validation part."""
        if not self.session.product.synthesized:
            return self.plans[shadow].conditioning, None
        items = self.plans[shadow].items
        wanted = {item.image_id for item in items}
        pixels = {row["image_id"]: rgb for row, rgb in self._read() if row["image_id"] in wanted}
        ids, classes = [item.image_id for item in items], [item.class_id for item in items]
        return synthesize.divided_set(self.session, ids, classes, [pixels[one] for one in ids])

    def _read(self) -> Iterator[tuple[ShardRow, Array]]:
        yield from read_shards(self.session.run.shards, self._own)
        yield from read_shards(self._folder, self._others)

    def _fill(self) -> list[Shard]:
        there = {item.image_id for shard in self._own for item in shard.items}
        merged: dict[str, tuple[int, PlanItem]] = {}
        for shadow, planned in self.plans.items():
            for item in planned.items:
                if item.image_id not in there:
                    merged.setdefault(item.image_id, (shadow, item))
        if not merged:
            return []
        rows: dict[str, int] = {}
        first: list[tuple[int, int]] = []
        items = []
        for shadow, item in merged.values():
            if item.conditioning_id not in rows:
                rows[item.conditioning_id] = len(rows)
                first.append((shadow, item.conditioning))
            items.append(replace(item, conditioning=rows[item.conditioning_id]))
        size = self.session.config.synthesis.shard_size
        shards = [Shard(n, tuple(items[at : at + size])) for n, at in enumerate(range(0, len(items), size))]
        store = synthesize.shard_store(self.session, self._folder)
        fill.fill(self.session, store, shards, lambda: self._conditioning(first), "synthesize (shadows)")
        return shards

    def _conditioning(self, rows: Sequence[tuple[int, int]]) -> Conditioning:
        """Rows of the shadows' conditionings as one. rows: (shadow, position in its conditioning)."""
        each = {shadow: self.plans[shadow].conditioning for shadow, _ in rows}
        offsets: dict[int, int] = {}
        sources: list[ClientUpload] = []
        for shadow, one in each.items():
            offsets[shadow] = len(sources)
            sources += list(one.sources)
        found = [(each[shadow], row, offsets[shadow]) for shadow, row in rows]
        return Conditioning(
            ids=tuple(one.ids[row] for one, row, _ in found),
            class_id=np.array([one.class_id[row] for one, row, _ in found], dtype=np.int64),
            weight=np.array([one.weight[row] for one, row, _ in found], dtype=np.float64),
            domain=tuple(one.domain[row] for one, row, _ in found),
            guidance_scale=np.array([one.guidance_scale[row] for one, row, _ in found], dtype=np.float64),
            source=np.array([one.source[row] + offset for one, row, offset in found], dtype=np.int64),
            row=np.array([one.row[row] for one, row, _ in found], dtype=np.int64),
            clients=np.array([one.clients[row] for one, row, _ in found], dtype=np.int64),
            sources=sources,
        )


def identity(items: Sequence[PlanItem]) -> str:
    return digest_of([[item.image_id, item.class_id] for item in items])
