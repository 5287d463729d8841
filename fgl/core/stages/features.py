"""The feature space that images are compared in, and its training where it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from fgl.contracts.arrays import contiguous
from fgl.contracts.dataset import LabelledPixels
from fgl.core.data import halves
from fgl.core.stages import partition, train
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import JsonObject
from fgl.errors import ConfigError, DataError, Problem
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.features import Extractor
    from fgl.core.session import Session


TITLES = {"train": "what the clients hold, pooled", "public": "the public split", "test": "the test split"}


@dataclass(frozen=True, slots=True)
class FeaturesResult:
    """A feature space that has learnt."""

    images: int
    """Real images that it was trained on."""
    split: str
    """Which of the dataset's splits they are of."""


def quality_heading(session: Session) -> str:
    return "the synthetic set measured beside real images"


# --- the space ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureTrainingSplit:
    """Real images that a space learns on. left: positions of the split that it does not learn on, None for the whole
    split where it learns on another one."""

    split: str
    rows: Labels
    left: Labels | None
    part: bool = False
    """Whether `rows` are fewer than there might be."""

    def bounded(self, labels: Labels, most: int, seed: int) -> FeatureTrainingSplit:
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


def learning(session: Session, real: str) -> FeatureTrainingSplit:
    """What a space that learns is to learn on: the public split, or the training images. Where `real` is of the same
    split, one half is learnt on and the other is measured: a model knows what it was trained on too well.

    Raises ConfigError where there is neither."""
    public = session.dataset.split("public")
    name = "train" if public is None else "public"
    if public is None and (session.remote_clients or session.dataset.split("train") is None):
        expected = (
            "a space that needs no training (dinov2, or image-model with features.model): the server has no real "
            "images to train one on"
        )
        raise ConfigError([Problem("features", repr(session.config.features.name), expected)])
    rows = usable(session, name)
    if name != real:
        return FeatureTrainingSplit(name, rows, None)
    kept, left = halves(session.split(name).labels[rows], session.config.seed)
    return FeatureTrainingSplit(name, rows[kept], rows[left])


def usable(session: Session, split: str) -> Labels:
    """Positions of a split; of the training images those that clients hold."""
    return partition.held(session) if split == "train" else np.arange(len(session.split(split)))


def measured(session: Session, real: str, learnt: FeatureTrainingSplit | None) -> Labels:
    """Positions of the real images that may be compared with."""
    return usable(session, real) if learnt is None or learnt.left is None else learnt.left


def space_inputs(session: Session, learnt: FeatureTrainingSplit) -> Inputs:
    config, out = session.config, session.removed_clients
    return {
        **({"forgotten": out} if out and learnt.split == "train" else {}),
        "features": config.features.model_dump(),
        "classifier": config.classifier.model_dump(),
        "seed": config.seed,
        "dataset": session.info.digest,
        "split": learnt.split,
        "half": learnt.left is not None,
        "size": session.image_size,
        "device": session.device_kind,
        **session.weights("features"),
        **session.weights("classifier"),
    }


def space_made(session: Session, learnt: FeatureTrainingSplit) -> Inputs:
    """For the inputs of what rests on a space that has learnt."""
    inputs = space_inputs(session, learnt)
    return {**inputs, "space": session.made(space_stage_of(session), digest_of(inputs))}


def learn(session: Session, space: Any, learnt: FeatureTrainingSplit, checkpoint: Any = None) -> dict[str, Array]:
    """The state of a space that learns. Raises DataError where it has nothing to learn on."""
    if not len(learnt.rows):
        raise DataError(
            "the feature space has no image to learn on: no class has two images of which it might have half; choose "
            "features that need no training (pixels, dinov2)"
        )
    whole = session.pixels(learnt.split)
    data = LabelledPixels(whole.pixels[learnt.rows], whole.labels[learnt.rows])
    context = train.context(session, "train the feature space", checkpoint)
    return dict(space.learn(data, session.classifier, context))


def extractor_of(session: Session, space: Any, state: Mapping[str, Array]) -> Extractor:
    found: Extractor = space.extractor(state, session.classifier, train.context(session, "features"))
    return found


def chosen(session: Session) -> Any:
    """The configured space."""
    return session.manager.create("features", session.config.features)


def learnt_on(session: Session, space: Any) -> FeatureTrainingSplit | None:
    """What the space learns on where it is compared with the configured real images, None where it needs none."""
    return learning(session, session.config.evaluation.real) if space.learns() else None


def learnt_state(session: Session) -> dict[str, Array]:
    """What `STAGE` has left; empty where the space learns nothing."""
    return dict(load_file(_state_path(session))) if chosen(session).learns() else {}


def _state_path(session: Session) -> Path:
    return session.run.path("quality", f"{label_of(session)}.safetensors")


def _work(session: Session, done: Done, digest: str) -> Work[FeaturesResult]:
    learnt = learning(session, session.config.evaluation.real)
    state = learn(session, chosen(session), learnt, session.run.checkpoints(space_stage_of(session), digest))
    path = _state_path(session)
    session.run.write(path, save(contiguous(state)))
    return FeaturesResult(len(learnt.rows), learnt.split), [path]


def space_stage_of(session: Session) -> str:
    return f"features:{label_of(session)}"


STAGE = Stage(
    name="features",
    needs=(),
    result=FeaturesResult,
    enabled=lambda session: session.config.evaluation.quality and chosen(session).learns(),
    inputs=lambda session, done: space_inputs(session, learning(session, session.config.evaluation.real)),
    work=_work,
    outputs=("quality",),
    label=space_stage_of,
    heading=quality_heading,
)
"""Trains the space, where it learns."""


def label_of(session: Session) -> str:
    """Of stages and files: another look at a run leaves the run's own figures where they are."""
    name, real = session.config.features.name, session.config.evaluation.real
    return name if real == "train" else f"{name}-{real}"


def described(session: Session, space: Extractor, learnt: FeatureTrainingSplit | None) -> JsonObject:
    """For the report: whose features, and what they learnt on."""
    config = session.config
    own = {} if learnt is None else {"classifier": config.classifier.name, "learnt_on": learnt.said}
    said = dict(space.describe())
    if "licence" in said:  # of a space that was written for the release before
        said.setdefault("license", said.pop("licence"))
    return {**strict_json.finite(said), "name": config.features.name, "learnt_on": None, **own}
