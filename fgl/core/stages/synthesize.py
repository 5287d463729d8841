"""Fill the plan's shards, and load the synthetic set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.generator import Shard
from fgl.core.store.owned import digest_of
from fgl.core.synthesis import fill as synthesis_fill
from fgl.core.synthesis import plan
from fgl.core.synthesis.shards import ShardStore, read_shards
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.core.session import Session
    from fgl.core.stages.plan import Plan


Set = tuple[LabelledPixels, LabelledPixels | None]
"""A synthetic set: its training part, and its validation part where there is one."""


def recipe(session: Session) -> dict[str, Any]:
    """What determines an image beside its item, to the last bit."""
    return {
        "generator": session.generator.fingerprint(),
        "rounding": dict(session.generator.rounding(session.device)),
        "classes": list(session.info.class_names),
    }


def synthesize_inputs(session: Session, plan_digest: str) -> dict[str, Any]:
    return {"plan": plan_digest, **recipe(session)}


def synthesize(session: Session, planned: Plan) -> dict[str, Any]:
    """Fill the shards that are not there yet, then take the digest of the whole set."""
    folder = session.run.shards

    def work(_: str) -> tuple[Any, list[Path]]:
        made, notes = fill(session, folder, planned, "synthesize")
        redrawn = 0

        def images() -> Iterator[tuple[str, int, bytes]]:
            nonlocal redrawn
            for row, rgb in read_shards(folder, planned.shards):
                redrawn += row["draw"] > 0
                yield row["image_id"], row["label"], rgb.tobytes()

        digest = plan.set_digest(images())
        total = sum(len(shard.items) for shard in planned.shards)
        value = {
            "images": total,
            "images_reused": total - made,
            "images_redrawn": redrawn,
            "digest": digest,
            "notes": dict(notes),
        }
        return value, shard_files(folder, planned)

    value, _ = session.stage("synthesize", synthesize_inputs(session, planned.digest), work)
    shard_store(session, folder).end(planned.shards)  # what a plan in between has left, which was not come back from
    return dict(value)


def fill(session: Session, folder: Path, planned: Plan, label: str) -> tuple[int, Mapping[str, object]]:
    """Make `folder` hold exactly the planned shards: see `synthesis.fill`."""
    return synthesis_fill.fill(
        session, shard_store(session, folder), planned.shards, lambda: planned.conditioning, label
    )


def shard_files(folder: Path, planned: Plan) -> list[Path]:
    return [folder / f"shard-{shard.index:05d}.{kind}" for shard in planned.shards for kind in ("parquet", "json")]


def shard_store(session: Session, folder: Path | None = None) -> ShardStore:
    """folder: None for the run's own set."""
    place = session.run.shards if folder is None else folder
    return ShardStore(session.run, place, digest_of(recipe(session)), session.info.class_names, session.config.seed)


def load_set(session: Session, folder: Path, shards: Sequence[Shard]) -> Set:
    """The synthetic set of a plan as training and validation part, in the order of the plan."""
    rows, pixels = [], []
    for row, rgb in read_shards(folder, shards):
        rows.append(row)
        pixels.append(rgb)
    return divided_set(session, [row["image_id"] for row in rows], [row["label"] for row in rows], pixels)


def divided_set(session: Session, image_ids: Sequence[str], classes: Sequence[int], pixels: Sequence[Pixels]) -> Set:
    """Synthetic images as training and validation part, each in their order. Too few to select by are trained on."""
    if not image_ids:
        raise DataError("the synthetic set is empty")
    options = session.config.synthesis
    mask = plan.validation_mask(image_ids, classes, options.validation_fraction)
    if mask.sum() < options.validation_per_class * len(set(classes)):
        # A share of n images has a standard error of up to 0.5 / √n: the best of many epochs on a handful is chance.
        mask[:] = False
    images, labels = np.stack(pixels), np.array(classes, dtype=np.int64)
    validation = LabelledPixels(images[mask], labels[mask]) if mask.any() else None
    return LabelledPixels(images[~mask], labels[~mask]), validation
