"""Train a classifier on the synthetic set and test it, once, on real images."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fgl.core import metrics, server
from fgl.core.card import card
from fgl.core.errors import StoreError
from fgl.core.types import FitContext

if TYPE_CHECKING:
    from fgl.core.contracts import TrainedClassifier
    from fgl.core.server import Plan
    from fgl.core.session import Session
    from fgl.core.types import Checkpoint, Which

log = logging.getLogger(__name__)
WHICH: tuple[Which, Which] = ("selected", "last")


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
        "synthetic": synthetic_digest, "classifier": config.classifier.model_dump(), "seed": config.seed,
        "validation_fraction": config.synthesis.validation_fraction,
        "validation_per_class": config.synthesis.validation_per_class, "classes": list(session.info.class_names),
        "device": session.device.split(":")[0], **session.weights("classifier"),
    }  # fmt: skip


def train(session: Session, synthetic_digest: str, planned: Plan) -> tuple[dict[str, Any], str]:
    """Fit on the synthetic set, and save the states of the selected and of the last epoch. Returns the stage's value
    and the digest of what it made."""

    def work(digest: str) -> tuple[Any, list[Path]]:
        train_set, validation = server.load_set(session, session.run.path("server", "shards"), planned.shards)
        why = None if validation is not None else unselected(session, len(train_set))
        if why is not None:
            log.warning("%s", why)
        kept = session.run.checkpoints("train", digest)
        model = session.classifier.fit(train_set, validation, context(session, "train", kept))
        outputs = []
        for which in WHICH:
            path = state_path(session, which)
            session.run.write(path, save({name: np.array(a, order="C") for name, a in model.state(which).items()}))
            outputs.append(path)
        return {
            "images": len(train_set), "validation_images": 0 if validation is None else len(validation),
            "unselected": why, "model_bytes": model.size_bytes(), "history": [dict(entry) for entry in model.history()],
        }, outputs  # fmt: skip

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


def state_path(session: Session, which: Which) -> Path:
    return session.run.path("train", f"{which}.safetensors")


def export_inputs(session: Session, made_by: str) -> dict[str, Any]:
    return {
        "model": made_by, "classes": list(session.info.class_names), "dataset": session.info.digest,
        "preparation": session.preparation.inputs(),
    }  # fmt: skip


def export(session: Session, state: Path, made_by: str, score: Mapping[str, Any]) -> None:
    """Save `classifier/`, in Hugging Face format, from a state. made_by: digest of what the stage that wrote the state
    made. score: of the model on the test split, for the model card."""

    def work(_: str) -> tuple[Any, list[Path]]:
        model = session.classifier.restore(load_file(state), context(session, "export"))
        return {}, _save(session, model, card(session, score, session.config.rounds.count))

    session.stage("export", export_inputs(session, made_by), work)


def _save(session: Session, model: TrainedClassifier, readme: str) -> list[Path]:
    folder = session.run.path("classifier")

    def write(part: Path) -> None:
        model.save(part, "last")
        (part / "README.md").write_text(readme, encoding="utf-8")

    try:
        return session.run.write_folder(folder, write)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {folder}: {error}; free some space and run the same command again") from error


def evaluate_inputs(session: Session, train_digest: str) -> dict[str, Any]:
    return {"train": train_digest, "dataset": session.info.digest, "preparation": session.preparation.inputs()}


def evaluate(session: Session, train_digest: str) -> dict[str, Any]:
    """Test both checkpoints on the real test split. This is the one place where the result meets it."""

    def work(_: str) -> tuple[Any, list[Path]]:
        result: dict[str, Any] = {}
        for which in WHICH:
            state = load_file(state_path(session, which))
            model = session.classifier.restore(state, context(session, "evaluate"))
            result[which] = score(session, model, "last")
        return result, []

    value, _ = session.stage("evaluate", evaluate_inputs(session, train_digest), work)
    return dict(value)


def score(session: Session, model: TrainedClassifier, which: Which) -> dict[str, Any]:
    """What `metrics.measure` finds over the real test split."""
    test = session.inputs("test")
    predicted = model.predict(test.pixels, which, session.progress)
    return metrics.measure(predicted, test.labels, session.info.class_names, session.split("test").domains)
