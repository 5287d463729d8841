"""Fill the plan's shards, and load the synthetic set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.generator import Shard
from fgl.core.stages import adaptation
from fgl.core.stages import plan as plan_stage
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.synthesis import fill as synthesis_fill
from fgl.core.synthesis import plan
from fgl.core.synthesis.shards import ShardStore, read_plan, read_shards
from fgl.errors import DataError, StoreError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array
    from fgl.core.session import Session
    from fgl.core.stages.plan import Plan


Set = tuple[Any, Any]
"""A synthetic set as `Classifier.fit` takes it: its training part, and its validation part where there is one. Where
nothing is synthesized, the rows that clients sent."""


@dataclass(frozen=True, slots=True)
class SynthesisResult:
    """The synthetic set."""

    images: int
    """How many there are."""
    images_reused: int
    """Of these, how many were there already."""
    images_redrawn: int
    """Of these, how many the safety checker blanked and that were drawn again."""
    digest: str
    """Of the set, see `fgl digest`."""
    notes: dict[str, object]
    """What the generator says of making it."""


_RECIPE = ("generator", "rounding", "classes")


def recipe(session: Session) -> Inputs:
    """What determines an image beside its item, to the last bit."""
    return {
        "generator": session.generator.fingerprint(),
        "rounding": dict(session.generator.rounding(session.device)),
        "classes": session.info.class_names,
    }


def synthesize_inputs(session: Session, plan_digest: str) -> Inputs:
    return {"plan": plan_digest, **recipe(session)}


def _work(session: Session, done: Done, digest: str) -> Work[SynthesisResult]:
    """Fill the shards that are not there yet, then take the digest of the whole set."""
    folder, planned = session.run.shards, plan_stage.planned(session, done)
    made, notes = fill(adaptation.adapted(session, done), folder, planned, "synthesize")
    redrawn = 0

    def images() -> Iterator[tuple[str, int, bytes]]:
        nonlocal redrawn
        for row, rgb in read_shards(folder, planned.shards):
            redrawn += row["draw"] > 0
            yield row["image_id"], row["label"], rgb.tobytes()

    of_set = plan.set_digest(images())
    total = sum(len(shard.items) for shard in planned.shards)
    return SynthesisResult(total, total - made, redrawn, of_set, dict(notes)), shard_files(folder, planned)


def _end(session: Session, done: Done) -> None:
    """Remove what a plan in between has left, to which nobody went back."""
    shard_store(adaptation.adapted(session, done)).end(plan_stage.planned(session, done).shards)


def _partial(session: Session, stage: str, inputs: Inputs) -> str:
    try:
        shards = read_plan(session.run.plan_file)
    except StoreError:
        return ""
    store = shard_store(session, made_by={key: inputs[key] for key in _RECIPE})
    finished = [shard for shard in shards if store.done(shard)]
    images = sum(len(shard.items) for shard in shards)
    there = sum(len(shard.items) for shard in finished)
    share = f", {there:,} of {images:,} images ({there / images:.0%})" if finished else ""
    return f"{len(finished)} of {len(shards)} shards are there{share}"


STAGE = Stage(
    name="synthesize",
    needs=("plan", "adaptation"),
    result=SynthesisResult,
    inputs=lambda session, done: synthesize_inputs(adaptation.adapted(session, done), done.made(plan_stage.STAGE)),
    work=_work,
    made=lambda session, digest, result: result.digest,
    after=_end,
    outputs=("server/shards", "server/shards.previous"),
    partial=_partial,
)


def own_set(session: Session, done: Done) -> Set:
    """The run's own synthetic set."""
    if not session.product.synthesized:
        return plan_stage.planned(session, done).conditioning, None
    return load_set(session, session.run.shards, plan_stage.planned(session, done).shards)


def fill(session: Session, folder: Path, planned: Plan, label: str) -> tuple[int, Mapping[str, object]]:
    """Make `folder` hold exactly the planned shards: see `synthesis.fill`."""
    return synthesis_fill.fill(
        session, shard_store(session, folder), planned.shards, lambda: planned.conditioning, label
    )


def shard_files(folder: Path, planned: Plan) -> list[Path]:
    return [folder / f"shard-{shard.index:05d}.{kind}" for shard in planned.shards for kind in ("parquet", "json")]


def shard_store(session: Session, folder: Path | None = None, made_by: Inputs | None = None) -> ShardStore:
    """folder: None for the run's own set. made_by: None for the session's `recipe`."""
    place = session.run.shards if folder is None else folder
    return ShardStore(
        session.run,
        place,
        digest_of(recipe(session) if made_by is None else made_by),
        session.info.class_names,
        session.config.seed,
        session.product,
    )


def load_set(session: Session, folder: Path, shards: Sequence[Shard]) -> Set:
    """The synthetic set of a plan as training and validation part, in the order of the plan."""
    rows, values = [], []
    for row, value in read_shards(folder, shards):
        rows.append(row)
        values.append(value)
    return divided_set(session, [row["image_id"] for row in rows], [row["label"] for row in rows], values)


def divided_set(session: Session, image_ids: Sequence[str], classes: Sequence[int], values: Sequence[Array]) -> Set:
    """Synthetic images as training and validation part, each in their order. Too few to select by are trained on."""
    if not image_ids:
        raise DataError("the synthetic set is empty")
    options = session.config.synthesis
    mask = plan.validation_mask(image_ids, classes, options.validation_fraction)
    if mask.sum() < options.validation_per_class * len(set(classes)):
        # A share of n images has a standard error of up to 0.5 / √n: the best of many epochs on a handful is chance.
        mask[:] = False
    items, labels = np.stack(values), np.array(classes, dtype=np.int64)
    validation = session.labelled(items[mask], labels[mask]) if mask.any() else None
    return session.labelled(items[~mask], labels[~mask]), validation
