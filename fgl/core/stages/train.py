"""Train the classifier on the synthetic set."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save

from fgl.contracts.arrays import contiguous
from fgl.contracts.classifier import FitContext
from fgl.core.stages import synthesize

if TYPE_CHECKING:
    from fgl.contracts.classifier import Checkpoint, CheckpointName
    from fgl.core.session import Session
    from fgl.core.stages.plan import Plan


log = logging.getLogger(__name__)
WHICH: tuple[CheckpointName, CheckpointName] = ("selected", "last")


def context(session: Session, label: str, checkpoint: Checkpoint | None = None) -> FitContext:
    digest = hashlib.sha256(f"{session.config.seed}/train".encode()).digest()
    return FitContext(
        class_names=session.info.class_names,
        seed=int.from_bytes(digest[:4], "big"),
        device=session.device,
        progress=session.progress,
        label=label,
        checkpoint=checkpoint,
    )


def train_inputs(session: Session, synthetic_digest: str) -> dict[str, Any]:
    config = session.config
    return {
        "synthetic": synthetic_digest,
        "classifier": config.classifier.model_dump(),
        "seed": config.seed,
        "validation_fraction": config.synthesis.validation_fraction,
        "validation_per_class": config.synthesis.validation_per_class,
        "classes": list(session.info.class_names),
        "device": session.device.split(":")[0],
        **session.weights("classifier"),
    }


def train(session: Session, synthetic_digest: str, planned: Plan) -> tuple[dict[str, Any], str]:
    """Fit on the synthetic set, and save the states of the selected and of the last epoch. Returns the stage's value
    and the digest of what it made."""

    def work(digest: str) -> tuple[Any, list[Path]]:
        train_set, validation = synthesize.load_set(session, session.run.shards, planned.shards)
        why = None if validation is not None else unselected(session, len(train_set))
        if why is not None:
            log.warning("%s", why)
        kept = session.run.checkpoints("train", digest)
        model = session.classifier.fit(train_set, validation, context(session, "train", kept))
        outputs = []
        for which in WHICH:
            path = state_path(session, which)
            session.run.write(path, save(contiguous(model.state(which))))
            outputs.append(path)
        return {
            "images": len(train_set),
            "validation_images": 0 if validation is None else len(validation),
            "unselected": why,
            "model_bytes": model.size_bytes(),
            "history": [dict(entry) for entry in model.history()],
        }, outputs

    value, digest = session.stage("train", train_inputs(session, synthetic_digest), work)
    return dict(value), session.made("train", digest)


def unselected(session: Session, images: int) -> str:
    """What is said where no epoch is selected. images: that are trained on."""
    options = session.config.synthesis
    if not options.validation_fraction:
        return "No epoch is selected, the last one counts: synthesis.validation_fraction is 0."
    return (
        f"No epoch is selected, the last one counts: {options.validation_fraction:.0%} of {images:,} synthetic images "
        f"are fewer than {options.validation_per_class} a class (synthesis.validation_per_class), and the best of many "
        "epochs on so few would be chance. All of them are trained on."
    )


def state_path(session: Session, which: CheckpointName) -> Path:
    return session.run.path("train", f"{which}.safetensors")
