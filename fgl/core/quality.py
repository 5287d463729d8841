"""How the synthetic set compares with real images, in the feature space of a stated model.

Real images are divided into `reference` and `held_out`. What is said of synthetic images is said of as many held-out
ones, of the same classes, against the same reference: that is what a figure has to be judged by.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from fgl.core import intake, server, strict_json, training
from fgl.core.errors import ConfigError, DataError, Problem, StoreError
from fgl.core.plan import halves
from fgl.core.shards import read_plan, read_shards
from fgl.core.store import digest_of
from fgl.core.types import LabelledPixels

if TYPE_CHECKING:
    from fgl.core.contracts import Extractor
    from fgl.core.session import Session
    from fgl.core.types import Array, Labels, Shard

TITLES = {"train": "what the clients hold, pooled", "public": "the public split", "test": "the test split"}
_QUANTILES = {"p01": 0.01, "p05": 0.05, "median": 0.5}


# --- the space ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Learning:
    """Real images that a space learns on. left: positions of the split that it does not learn on, None for the whole
    split where it learns on another one."""

    split: str
    rows: Labels
    left: Labels | None
    part: bool = False
    """Whether `rows` are fewer than there might be."""

    def bounded(self, labels: Labels, most: int, seed: int) -> Learning:
        """At most about `most` of the rows, as many of each class as there are, at least two. labels: of the split."""
        if len(self.rows) <= most:
            return self
        classes = np.unique(labels[self.rows])
        each, kept = max(2, most // len(classes)), []
        for class_id in classes.tolist():
            rows = self.rows[labels[self.rows] == class_id]
            kept.append(np.random.default_rng([seed, class_id, 3]).permutation(rows)[:each])
        return replace(self, rows=np.sort(np.concatenate(kept)), part=True)

    @property
    def said(self) -> str:
        share = "some of " if self.part else "half of " if self.left is not None else ""
        return f"{len(self.rows):,} real images: {share}{TITLES[self.split]} ({self.split})"


def learning(session: Session, real: str) -> Learning:
    """What a space that learns is to learn on: the public split, or the training images. Where `real` is of the same
    split, one half is learnt on and the other is measured: a model knows what it was trained on too well.

    Raises ConfigError where there is neither."""
    public = session.dataset.split("public")
    name = "train" if public is None else "public"
    if public is None and (session.apart or session.dataset.split("train") is None):
        expected = (
            "a space that needs no training (dinov2, or image-model with features.model): the server has no real "
            "images to train one on"
        )
        raise ConfigError([Problem("features", repr(session.config.features.name), expected)])
    rows = usable(session, name)
    if name != real:
        return Learning(name, rows, None)
    kept, left = halves(session.split(name).labels[rows], session.config.seed)
    return Learning(name, rows[kept], rows[left])


def usable(session: Session, split: str) -> Labels:
    """Positions of a split; of the training images those that clients hold."""
    return server.held(session) if split == "train" else np.arange(len(session.split(split)))


def measured(session: Session, real: str, learnt: Learning | None) -> Labels:
    """Positions of the real images that may be compared with."""
    return usable(session, real) if learnt is None or learnt.left is None else learnt.left


def space_inputs(session: Session, learnt: Learning) -> dict[str, Any]:
    config, out = session.config, intake.forgotten(session.run)
    return {
        **({"forgotten": out} if out and learnt.split == "train" else {}),
        "features": config.features.model_dump(), "classifier": config.classifier.model_dump(), "seed": config.seed,
        "dataset": session.info.digest, "split": learnt.split, "half": learnt.left is not None,
        "size": list(session.image_size), "device": session.device.split(":")[0],
        **session.weights("features"), **session.weights("classifier"),
    }  # fmt: skip


def space_made(session: Session, learnt: Learning) -> dict[str, Any]:
    """For the inputs of what rests on a space that has learnt."""
    inputs = space_inputs(session, learnt)
    return {**inputs, "space": session.made(space_stage_of(session), digest_of(inputs))}


def learn(session: Session, space: Any, learnt: Learning, checkpoint: Any = None) -> dict[str, Array]:
    """The state of a space that learns. Raises DataError where it has nothing to learn on."""
    if not len(learnt.rows):
        raise DataError(
            "the feature space has no image to learn on: no class has two images of which it might have half; choose "
            "features that need no training (pixels, dinov2)"
        )
    whole = session.pixels(learnt.split)
    data = LabelledPixels(whole.pixels[learnt.rows], whole.labels[learnt.rows])
    context = training.context(session, "train the feature space", checkpoint)
    return dict(space.learn(data, session.classifier, context))


def extractor_of(session: Session, space: Any, state: Mapping[str, Array]) -> Extractor:
    found: Extractor = space.extractor(state, session.classifier, training.context(session, "features"))
    return found


def keep_learnt(session: Session, space: Any, learnt: Learning) -> Path:
    """The stage that trains a space; returns where its state lies."""
    path = session.run.path("quality", f"{label_of(session)}.safetensors")

    def work(digest: str) -> tuple[Any, list[Path]]:
        state = learn(session, space, learnt, session.run.checkpoints(space_stage_of(session), digest))
        session.run.write(path, save({name: np.array(array, order="C") for name, array in state.items()}))
        return {"images": len(learnt.rows), "split": learnt.split}, [path]

    session.stage(space_stage_of(session), space_inputs(session, learnt), work)
    return path


def space_stage_of(session: Session) -> str:
    return f"features:{label_of(session)}"


def label_of(session: Session) -> str:
    """Of stages and files: another look at a run leaves the run's own figures where they are."""
    name, real = session.config.features.name, session.config.evaluation.real
    return name if real == "train" else f"{name}-{real}"


def described(session: Session, space: Extractor, learnt: Learning | None) -> dict[str, Any]:
    """For the report: whose features, and what they learnt on."""
    config = session.config
    own = {} if learnt is None else {"classifier": config.classifier.name, "learnt_on": learnt.said}
    return {**strict_json.finite(space.describe()), "name": config.features.name, "learnt_on": None, **own}


# --- who is compared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Division:
    """Positions, class by class. images: of the synthetic set; reference, held_out: of the real split."""

    images: dict[int, Labels]
    reference: dict[int, Labels]
    held_out: dict[int, Labels]


def divide(real: Labels, images: Labels, usable: Labels, seed: int, most: int) -> Division:
    """As many synthetic as held-out images of each class: at most half of its real ones, and all the other real ones
    are the reference. usable: positions of `real` that may be taken. most: of each kind, over all classes."""
    classes = np.intersect1d(real[usable], images).tolist()
    each = max(1, most // max(1, len(classes)))
    division = Division({}, {}, {})
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
    out = intake.forgotten(session.run)
    return {
        **learnt, **session.weights("features"),
        **({"forgotten": out} if out and config.evaluation.real == "train" else {}),
        "synthetic": synthetic_digest, "dataset": session.info.digest,
        "features": config.features.model_dump(), "real": config.evaluation.real, "seed": config.seed,
        "max_images": config.evaluation.max_images, "size": list(session.image_size),
        "device": session.device.split(":")[0],
    }  # fmt: skip


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
    return session.apart and session.config.upload.clients is not None


def of_run(session: Session, shards: Sequence[Shard], synthetic_digest: str) -> dict[str, Any] | None:
    """The stage of a run: None unless the configuration asks for it."""
    return measure(session, shards, synthetic_digest) if session.config.evaluation.quality else None


def of_folder(session: Session) -> dict[str, Any]:
    """For a run that was made earlier. Raises StoreError where its synthetic set is not complete."""
    record = session.run.recorded("synthesize")
    if record is None:
        raise StoreError(f"{session.run.root} has no synthetic set yet: complete the run first")
    return measure(session, read_plan(session.run.path("server", "plan.parquet")), record["value"]["digest"])


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
    session: Session, space: Extractor, learnt: Learning | None, made: LabelledPixels
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
        "real": options.real, "real_is": TITLES[options.real],
        "counts": {"synthetic": len(made), "compared": len(images), "held_out": len(held_out),
                   "reference": len(reference)},
        "overall": overall, "nearest": nearest_of(distances, expected), "per_class": per_class,
    }  # fmt: skip
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
        "synthetic": said(made), "held_out": said(held_out),
        "closer": round(float((made < limit).mean()), 6),
        "closer_held_out": round(float((held_out < limit).mean()), 6),
    }  # fmt: skip


def synthetic_set(session: Session, shards: Sequence[Shard]) -> tuple[list[str], Labels, Array]:
    ids, labels, pixels = [], [], []
    for row, rgb in read_shards(session.run.path("server", "shards"), shards):
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
