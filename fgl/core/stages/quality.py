"""How the synthetic set compares with real images, in the feature space of a stated model.

Real images are divided into `reference` and `held_out`. What is said of synthetic images is said of as many held-out
ones, of the same classes, against the same reference: that is what a figure has to be judged by.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from fgl.contracts.dataset import LabelledPixels
from fgl.core.server import removed
from fgl.core.stages.features import (
    TITLES,
    described,
    extractor_of,
    keep_learnt,
    label_of,
    learning,
    measured,
    space_inputs,
    space_made,
    space_stage_of,
)
from fgl.core.synthesis.shards import read_plan, read_shards
from fgl.errors import ConfigError, DataError, Problem, StoreError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.features import Extractor
    from fgl.contracts.generator import Shard
    from fgl.core.session import Session
    from fgl.core.stages.features import FeatureTrainingSplit


_QUANTILES = {"p01": 0.01, "p05": 0.05, "median": 0.5}


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


def inputs_of(session: Session, synthetic_digest: str) -> dict[str, Any]:
    """What determines the figures, beside the code."""
    config = session.config
    space = session.manager.create("features", config.features)
    learnt = space_made(session, learning(session, config.evaluation.real)) if space.learns() else {}
    out = removed.removed_clients(session.run)
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
        "size": list(session.image_size),
        "device": session.device.split(":")[0],
    }


def stages_of(session: Session, synthetic_digest: str) -> list[tuple[str, dict[str, Any], bool]]:
    """(stage, inputs, whether it waits for the synthetic set) of what the configuration asks for."""
    if not session.config.evaluation.quality:
        return []
    found = [(stage_of(session), inputs_of(session, synthetic_digest), True)]
    if session.manager.create("features", session.config.features).learns():
        learnt = learning(session, session.config.evaluation.real)
        found.insert(0, (space_stage_of(session), space_inputs(session, learnt), False))
    return found


def check(session: Session) -> None:
    """Where quality is asked for: raises ConfigError where the real images are not here, DataError where they are too
    few, and ModelError where the feature space has no such model. Called before anything is computed."""
    real = session.config.evaluation.real
    if not session.config.evaluation.quality:
        return
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
                "features that need no training, or leave out evaluation.quality, or the audit's part memorisation"
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


def run_stage(session: Session, shards: Sequence[Shard], synthetic_digest: str) -> dict[str, Any] | None:
    """The stage of a run: None unless the configuration asks for it."""
    return measure(session, shards, synthetic_digest) if session.config.evaluation.quality else None


def measure_run(session: Session) -> dict[str, Any]:
    """For a run that was made earlier. Raises StoreError where its synthetic set is not complete."""
    record = session.run.recorded("synthesize")
    if record is None:
        raise StoreError(f"{session.run.root} has no synthetic set yet: complete the run first")
    return measure(session, read_plan(session.run.plan_file), record["value"]["digest"])


def measure(session: Session, shards: Sequence[Shard], synthetic_digest: str) -> dict[str, Any]:
    """Compare the synthetic set with real images; writes quality/<space>.json and the distances, image by image."""
    folder, name = session.run.path("quality"), label_of(session)
    chosen = session.manager.create("features", session.config.features)
    learnt = learning(session, session.config.evaluation.real) if chosen.learns() else None
    state = None if learnt is None else keep_learnt(session, chosen, learnt)

    def work(_: str) -> tuple[Any, list[Path]]:
        space = extractor_of(session, chosen, {} if state is None else load_file(state))
        ids, labels, pixels = synthetic_set(session, shards)
        found, distances = compare(session, space, learnt, LabelledPixels(pixels, labels))
        table = folder / f"{name}.csv"
        session.run.write(table, _table(session, ids, labels, distances))
        return {**found, "synthetic_digest": synthetic_digest, "distances": f"quality/{table.name}"}, [table]

    value, _ = session.stage(stage_of(session), inputs_of(session, synthetic_digest), work)
    session.run.write_json(folder / f"{name}.json", value)
    return dict(value)


def compare(
    session: Session, space: Extractor, learnt: FeatureTrainingSplit | None, made: LabelledPixels
) -> tuple[dict[str, Any], tuple[Array, Labels]]:
    """(every figure, (distance to the nearest reference image, its position in the split) of each synthetic one)."""
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
    points = {
        "reference": space.features(real.pixels[reference], session.progress),
        "held_out": space.features(real.pixels[held_out], session.progress),
        "made": space.features(made.pixels, session.progress),
    }
    distances, positions = space.nearest(points["made"], points["reference"])
    expected, _ = space.nearest(points["held_out"], points["reference"])
    overall = {
        "synthetic": strict_json.finite(dict(space.compare(points["reference"], points["made"][images], seed))),
        "held_out": strict_json.finite(dict(space.compare(points["reference"], points["held_out"], seed))),
    }
    place_ref, place_held = _places(division.reference), _places(division.held_out)
    per_class: dict[str, Any] = {}
    for class_id, class_name in enumerate(session.info.class_names):
        counts = {
            "synthetic": int((made.labels == class_id).sum()),
            "compared": len(division.images.get(class_id, ())),
            "held_out": len(division.held_out.get(class_id, ())),
            "reference": len(division.reference.get(class_id, ())),
        }
        if not counts["compared"]:
            real_ones = int((real.labels[there] == class_id).sum())
            why = f"{counts['synthetic']} synthetic and {real_ones} real images; it takes one and two"
            per_class[class_name] = {"counts": counts, "why": why}
            continue
        near = points["reference"][place_ref[class_id]]
        to_made = space.nearest(points["made"][made.labels == class_id], near)[0]
        to_held = space.nearest(points["held_out"][place_held[class_id]], near)[0]
        per_class[class_name] = {
            "counts": counts,
            "synthetic": strict_json.finite(dict(space.compare(near, points["made"][division.images[class_id]], seed))),
            "held_out": strict_json.finite(dict(space.compare(near, points["held_out"][place_held[class_id]], seed))),
            "nearest": nearest_of(to_made, to_held),
        }
    found = {
        "space": described(session, space, learnt),
        "real": options.real,
        "real_is": TITLES[options.real],
        "counts": {
            "synthetic": len(made),
            "compared": len(images),
            "held_out": len(held_out),
            "reference": len(reference),
        },
        "overall": overall,
        "nearest": nearest_of(distances, expected),
        "per_class": per_class,
    }
    return found, (distances, reference[positions])


def nearest_of(made: Array, held_out: Array) -> dict[str, Any]:
    """Quantiles of distances to the nearest reference image; `closer`, the share of synthetic images that are nearer to
    one than all but a hundredth of the held-out images are: more for copies; and `closer_held_out`, the share of
    held-out images that are: 1 %, or what so few of them allow."""

    def said(distances: Array) -> dict[str, float]:
        found = {name: float(np.quantile(distances, at)) for name, at in _QUANTILES.items()}
        return {name: round(value, 6) for name, value in {"min": float(distances.min()), **found}.items()}

    limit = np.quantile(held_out, _QUANTILES["p01"])
    return {
        "synthetic": said(made),
        "held_out": said(held_out),
        "closer": round(float((made < limit).mean()), 6),
        "closer_held_out": round(float((held_out < limit).mean()), 6),
    }


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
