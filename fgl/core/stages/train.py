"""Train the classifier on the synthetic set."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.numpy import save

from fgl.contracts.arrays import contiguous
from fgl.contracts.classifier import FitContext
from fgl.contracts.events import StageContext
from fgl.core.stages import synthesize
from fgl.core.stages.stage import Done, Inputs, Stage, Work

if TYPE_CHECKING:
    from fgl.contracts.classifier import Checkpoint, CheckpointName
    from fgl.core.session import Session


log = logging.getLogger(__name__)
WHICH: tuple[CheckpointName, CheckpointName] = ("selected", "last")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The training on the synthetic set."""

    images: int
    """Synthetic images that were trained on."""
    validation_images: int
    """Synthetic images that the epoch is selected by."""
    unselected: str | None
    """Why no epoch is selected, None where one is."""
    model_bytes: int
    """Size of the model's weights."""
    history: list[dict[str, object]]
    """What the classifier says of each epoch."""


def context(session: Session, label: str, checkpoint: Checkpoint | None = None) -> FitContext:
    digest = hashlib.sha256(f"{session.config.seed}/train".encode()).digest()
    return FitContext(
        class_names=session.info.class_names,
        seed=int.from_bytes(digest[:4], "big"),
        device=session.device,
        progress=session.progress,
        label=label,
        checkpoint=checkpoint,
        product=None if session.yields_images else session.product,
    )


def train_inputs(session: Session, synthetic_digest: str) -> Inputs:
    config = session.config
    return {
        "synthetic": synthetic_digest,
        "classifier": config.classifier.model_dump(),
        "seed": config.seed,
        "validation_fraction": config.synthesis.validation_fraction,
        "validation_per_class": config.synthesis.validation_per_class,
        "classes": session.info.class_names,
        "device": session.device_kind,
        **session.weights("classifier"),
    }


def _work(session: Session, done: Done, digest: str) -> Work[TrainResult]:
    """Fit on the synthetic set, and save the states of the selected and of the last epoch."""
    train_set, validation = synthesize.own_set(session, done)
    why = None if validation is not None else unselected(session, len(train_set))
    if why is not None and session.product.synthesized:
        log.warning("%s", why)
    kept = session.run.checkpoints("train", digest)
    stage = StageContext(str(session.run.root), STAGE.name)
    how = replace(
        context(session, "train", kept), on_epoch=lambda entry: session.events.epoch_finished(stage, dict(entry))
    )
    model = session.classifier.fit(train_set, validation, how)
    files = []
    for which in WHICH:
        path = state_path(session, which)
        session.run.write(path, save(contiguous(model.state(which))))
        files.append(path)
    result = TrainResult(
        images=len(train_set),
        validation_images=0 if validation is None else len(validation),
        unselected=why,
        model_bytes=model.size_bytes(),
        history=[dict(entry) for entry in model.history()],
    )
    return result, files


STAGE = Stage(
    name="train",
    needs=("synthesize",),
    result=TrainResult,
    inputs=lambda session, done: train_inputs(session, done.made(synthesize.STAGE)),
    work=_work,
    made=lambda session, digest, result: session.made("train", digest),
    outputs=("train",),
)


def unselected(session: Session, images: int) -> str:
    """What is said where no epoch is selected. images: that are trained on."""
    options = session.config.synthesis
    if not session.product.synthesized:
        return f"Nothing is selected: the classifier is fitted to all {session.product.kind} that clients sent."
    if not options.validation_fraction:
        return "No epoch is selected, the last one counts: synthesis.validation_fraction is 0."
    return (
        f"No epoch is selected, the last one counts: {options.validation_fraction:.0%} of {images:,} synthetic images "
        f"are fewer than {options.validation_per_class} a class (synthesis.validation_per_class), and the best of many "
        "epochs on so few would be chance. All of them are trained on."
    )


def state_path(session: Session, which: CheckpointName) -> Path:
    return session.run.path("train", f"{which}.safetensors")
