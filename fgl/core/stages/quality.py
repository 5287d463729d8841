"""How the synthetic set compares with real images, in the feature space of a stated model.

Real images are divided into `reference` and `held_out`. What is said of synthetic images is said of as many held-out
ones, of the same classes, against the same reference: that is what a figure has to be judged by.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.dataset import LabelledPixels
from fgl.core.report.figures import (
    QUANTILES,
    BothFigures,
    ClassQuality,
    Figures,
    Nearest,
    Quality,
    QualityCounts,
    Space,
    quantiles_of,
)
from fgl.core.stages import features, synthesize
from fgl.core.stages.features import TITLES, described, extractor_of, label_of, learning, measured, space_made
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.typed import from_json, to_json
from fgl.core.synthesis.shards import read_plan, read_shards
from fgl.errors import ConfigError, DataError, Problem, StoreError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.features import Extractor
    from fgl.contracts.generator import Shard
    from fgl.core.session import Session
    from fgl.core.stages.features import FeatureTrainingSplit


# --- who is compared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EvaluationSplit:
    """Positions, class by class. images: of the synthetic set; reference, held_out: of the real split."""

    images: dict[int, Labels]
    reference: dict[int, Labels]
    held_out: dict[int, Labels]


def divide(real: Labels, images: Labels, usable: Labels, seed: int, most: int) -> EvaluationSplit:
    """As many synthetic as held-out images of each class: at most half of its real ones, and all the other real ones
    are the reference. usable: positions of `real` that may be taken. most: of each kind, over all classes."""
    classes = np.intersect1d(real[usable], images).tolist()
    each = max(1, most // max(1, len(classes)))
    division = EvaluationSplit({}, {}, {})
    for class_id in classes:
        rows = usable[real[usable] == class_id]
        rows = np.random.default_rng([seed, class_id, 1]).permutation(rows)
        made = np.flatnonzero(images == class_id)
        chosen = np.random.default_rng([seed, class_id, 2]).permutation(made)
        count = min(len(made), len(rows) // 2, each)
        if count:
            division.images[class_id] = np.sort(chosen[:count])
            division.held_out[class_id] = np.sort(rows[:count])
            division.reference[class_id] = np.sort(rows[count : count + each])
    return division


# --- the stage ------------------------------------------------------------------------------------------------------


def stage_of(session: Session) -> str:
    return f"quality:{label_of(session)}"


def inputs_of(session: Session, synthetic_digest: str) -> Inputs:
    """What determines the figures, beside the code."""
    config = session.config
    space = session.manager.create("features", config.features)
    learnt = space_made(session, learning(session, config.evaluation.real)) if space.learns() else {}
    out = session.removed_clients
    return {
        **learnt,
        **session.weights("features"),
        **({"forgotten": out} if out and config.evaluation.real == "train" else {}),
        "synthetic": synthetic_digest,
        "dataset": session.info.digest,
        "features": config.features.model_dump(),
        "real": config.evaluation.real,
        "seed": config.seed,
        "max_images": config.evaluation.max_images,
        "size": session.image_size,
        "device": session.device_kind,
    }


def check(session: Session) -> None:
    """Where quality is asked for: raises ConfigError where the real images are not here, DataError where they are too
    few, and ModelError where the feature space has no such model. Called before anything is computed."""
    real = session.config.evaluation.real
    if not session.config.evaluation.quality:
        return
    if not session.yields_images:
        name, kind = session.config.generator.name, session.product.kind
        expected = f"leave it out: it needs images, and generator {name!r} yields {kind}"
        raise ConfigError([Problem("evaluation.quality", "true", expected)])
    if session.dataset.split(real) is not None and not (real == "train" and elsewhere(session)):
        space = session.manager.create("features", session.config.features)
        learnt = learning(session, real) if space.learns() else None
        if learnt is None:
            extractor_of(session, space, {})
        there = measured(session, real, learnt)
        most = int(np.bincount(session.split(real).labels[there]).max()) if len(there) else 0
        if most < 2 or (learnt is not None and not len(learnt.rows)):
            taken = " beside those that the feature space is trained on" if learnt and learnt.left is not None else ""
            raise DataError(
                f"no class has two real images to compare with in {TITLES[real]} ({real}){taken}; add images, choose "
                "features that need no training, or leave out evaluation.quality, or the audit's part memorization"
            )
        return
    others = [name for name in ("public", "test") if name != real and session.dataset.split(name) is not None]
    if real == "train" and elsewhere(session):
        got, why = "train, which is at the clients", "the server has no real images of theirs to compare with"
    else:
        got, why = repr(real), f"dataset {session.info.name!r} has no such split"
    instead = f"; expected {' or '.join(others)}, or no quality" if others else ""
    raise ConfigError([Problem("evaluation.real", got, f"{why}{instead}")])


def elsewhere(session: Session) -> bool:
    return session.remote_clients and session.config.upload.clients is not None


def measure_run(session: Session) -> Quality:
    """For a run that was made earlier. Raises StoreError where its synthetic set is not complete."""
    record = session.run.recorded("synthesize")
    if record is None:
        raise StoreError(f"{session.run.root} has no synthetic set yet: complete the run first")
    done = Done()
    synthesize.STAGE.note(session, done, "", record["value"])
    if features.STAGE.enabled(session):
        features.STAGE.run(session, done)
    return STAGE.run(session, done)


def _work(session: Session, done: Done, digest: str) -> Work[Quality]:
    """Compare the synthetic set with real images, and write the distances, image by image."""
    chosen = features.chosen(session)
    learnt = features.learnt_on(session, chosen)
    space = extractor_of(session, chosen, features.learnt_state(session))
    ids, labels, pixels = synthetic_set(session, read_plan(session.run.plan_file))
    table = session.run.path("quality", f"{label_of(session)}.csv")
    set_digest = done[synthesize.STAGE].digest
    figures, distances = compare(
        session, space, learnt, LabelledPixels(pixels, labels), set_digest, f"quality/{table.name}"
    )
    session.run.write(table, _table(session, ids, labels, distances))
    return figures, [table]


def _show(session: Session, done: Done) -> None:
    """Write quality/<space>.json, for a person."""
    session.run.write_json(session.run.path("quality", f"{label_of(session)}.json"), to_json(done[STAGE]))


STAGE = Stage(
    name="quality",
    needs=("synthesize", "features"),
    result=Quality,
    enabled=lambda session: session.config.evaluation.quality,
    inputs=lambda session, done: inputs_of(session, done.made(synthesize.STAGE)),
    work=_work,
    after=_show,
    outputs=("quality",),
    label=stage_of,
    heading=features.quality_heading,
)


def compare(
    session: Session,
    space: Extractor,
    learnt: FeatureTrainingSplit | None,
    made: LabelledPixels,
    set_digest: str,
    table: str,
) -> tuple[Quality, tuple[Array, Labels]]:
    """(every figure, (distance to the nearest reference image, its position in the split) of each synthetic one).
    set_digest: of the synthetic set; table: where the distances will lie."""
    options, seed = session.config.evaluation, session.config.seed
    real = session.pixels(options.real)
    there = measured(session, options.real, learnt)
    division = divide(real.labels, made.labels, there, seed, options.max_images)
    reference = _joined(division.reference)
    held_out, images = _joined(division.held_out), _joined(division.images)
    if not len(images):
        raise DataError(
            f"quality: no class has a synthetic image and two real ones ({options.real} split): nothing to compare"
        )
    points = _Points(
        reference=space.features(real.pixels[reference], session.progress),
        held_out=space.features(real.pixels[held_out], session.progress),
        made=space.features(made.pixels, session.progress),
    )
    distances, positions = space.nearest(points.made, points.reference)
    expected, _ = space.nearest(points.held_out, points.reference)
    figures = Quality(
        space=from_json(Space, described(session, space, learnt)),
        real=options.real,
        real_is=TITLES[options.real],
        counts=QualityCounts(
            synthetic=len(made), compared=len(images), held_out=len(held_out), reference=len(reference)
        ),
        overall=BothFigures(
            synthetic=_figures(space, points.reference, points.made[images], seed),
            held_out=_figures(space, points.reference, points.held_out, seed),
        ),
        nearest=nearest_of(distances, expected),
        per_class=_by_class(session, space, points, division, made.labels, real.labels[there]),
        synthetic_digest=set_digest,
        distances=table,
    )
    return figures, (distances, reference[positions])


@dataclass(frozen=True, slots=True)
class _Points:
    """Features, float32 [n, d]: of the real images, class by class, and of all synthetic ones."""

    reference: Array
    held_out: Array
    made: Array


def _by_class(
    session: Session, space: Extractor, points: _Points, division: EvaluationSplit, made: Labels, real: Labels
) -> dict[str, ClassQuality]:
    """made: classes of the synthetic images; real: of the real ones that may be compared with."""
    seed = session.config.seed
    place_ref, place_held = _places(division.reference), _places(division.held_out)
    per_class = {}
    for class_id, class_name in enumerate(session.info.class_names):
        counts = QualityCounts(
            synthetic=int((made == class_id).sum()),
            compared=len(division.images.get(class_id, ())),
            held_out=len(division.held_out.get(class_id, ())),
            reference=len(division.reference.get(class_id, ())),
        )
        if not counts.compared:
            why = f"{counts.synthetic} synthetic and {int((real == class_id).sum())} real images; it takes one and two"
            per_class[class_name] = ClassQuality(counts=counts, why=why)
            continue
        near, held = points.reference[place_ref[class_id]], points.held_out[place_held[class_id]]
        per_class[class_name] = ClassQuality(
            counts=counts,
            synthetic=_figures(space, near, points.made[division.images[class_id]], seed),
            held_out=_figures(space, near, held, seed),
            nearest=nearest_of(space.nearest(points.made[made == class_id], near)[0], space.nearest(held, near)[0]),
        )
    return per_class


def _figures(space: Extractor, reference: Array, images: Array, seed: int) -> Figures:
    return from_json(Figures, strict_json.finite(dict(space.compare(reference, images, seed))))


def nearest_of(made: Array, held_out: Array) -> Nearest:
    """Quantiles of distances to the nearest reference image, and how many are closer than all but a hundredth of the
    held-out images: more of the synthetic ones for copies."""
    limit = np.quantile(held_out, QUANTILES["p01"])
    return Nearest(
        synthetic=quantiles_of(made),
        held_out=quantiles_of(held_out),
        closer=round(float((made < limit).mean()), 6),
        closer_held_out=round(float((held_out < limit).mean()), 6),
    )


def synthetic_set(session: Session, shards: Sequence[Shard]) -> tuple[list[str], Labels, Array]:
    ids, labels, pixels = [], [], []
    for row, rgb in read_shards(session.run.shards, shards):
        ids.append(str(row["image_id"]))
        labels.append(int(row["label"]))
        pixels.append(rgb)
    if not ids:
        raise DataError("the synthetic set is empty: there is nothing to compare")
    return ids, np.array(labels, dtype=np.int64), np.stack(pixels)


def _table(session: Session, ids: Sequence[str], labels: Labels, found: tuple[Array, Labels]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image_id", "class", "distance", f"nearest_in_{session.config.evaluation.real}"))
    for image, label, distance, position in zip(ids, labels, *found, strict=True):
        writer.writerow((image, session.info.class_names[label], f"{distance:.6g}", int(position)))
    return text.getvalue().encode()


def _joined(parts: Mapping[int, Labels]) -> Labels:
    return np.concatenate(list(parts.values())) if parts else np.empty(0, dtype=np.int64)


def _places(parts: Mapping[int, Labels]) -> dict[int, slice]:
    """Where each class lies in what `_joined` gives."""
    found, start = {}, 0
    for class_id, rows in parts.items():
        found[class_id] = slice(start, start + len(rows))
        start += len(rows)
    return found
