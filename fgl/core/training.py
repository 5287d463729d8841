"""Train a classifier on the synthetic set and test it, once, on real images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fgl.core import server
from fgl.core.errors import DataError, StoreError
from fgl.core.types import FitContext

if TYPE_CHECKING:
    from fgl.core.contracts import TrainedClassifier
    from fgl.core.server import Plan
    from fgl.core.session import Session
    from fgl.core.types import Checkpoint, Labels, Which

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
        "validation_fraction": config.synthesis.validation_fraction, "classes": list(session.info.class_names),
        "device": session.device.split(":")[0],
    }  # fmt: skip


def train(session: Session, synthetic_digest: str, planned: Plan) -> tuple[dict[str, Any], str]:
    """Fit on the synthetic set, and save the states of the selected and of the last epoch."""

    def work(digest: str) -> tuple[Any, list[Path]]:
        train_set, validation = server.load_set(session, session.run.path("server", "shards"), planned.shards)
        kept = session.run.checkpoints("train", digest)
        model = session.classifier.fit(train_set, validation, context(session, "train", kept))
        outputs = []
        for which in WHICH:
            path = state_path(session, which)
            session.run.write(path, save({name: np.array(a, order="C") for name, a in model.state(which).items()}))
            outputs.append(path)
        return {
            "images": len(train_set), "validation_images": 0 if validation is None else len(validation),
            "model_bytes": model.size_bytes(), "history": [dict(entry) for entry in model.history()],
        }, outputs  # fmt: skip

    value, digest = session.stage("train", train_inputs(session, synthetic_digest), work)
    return dict(value), digest


def state_path(session: Session, which: Which) -> Path:
    return session.run.path("train", f"{which}.safetensors")


def export_inputs(session: Session, made_by: str) -> dict[str, Any]:
    return {"model": made_by, "classes": list(session.info.class_names)}


def export(session: Session, state: Path, made_by: str) -> None:
    """Save `classifier/`, in Hugging Face format, from a state. made_by: digest of the stage that wrote the state."""

    def work(_: str) -> tuple[Any, list[Path]]:
        model = session.classifier.restore(load_file(state), context(session, "export"))
        return {}, _save(session, model)

    session.stage("export", export_inputs(session, made_by), work)


def _save(session: Session, model: TrainedClassifier) -> list[Path]:
    folder = session.run.path("classifier")
    try:
        return session.run.write_folder(folder, lambda part: model.save(part, "last"))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {folder}: {error}; free some space and run the same command again") from error


def evaluate_inputs(session: Session, train_digest: str) -> dict[str, Any]:
    return {"train": train_digest, "dataset": session.info.digest}


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
    """Top-1 over the real test split, by class and by domain, as fractions."""
    test = session.pixels("test")
    predicted = model.predict(test.pixels, which, session.progress)
    return measure(predicted, test.labels, session.info.class_names, session.split("test").domains)


def measure(
    predicted: Labels, labels: Labels, class_names: Sequence[str], domains: Sequence[str] | None
) -> dict[str, Any]:
    """top1, per_class and per_domain: fractions of the samples concerned. Classes without test samples are left out."""
    if not len(labels):
        raise DataError("the test split is empty: there is nothing to measure on")
    right = predicted == labels
    per_class = {
        name: round(float(right[labels == index].mean()), 6)
        for index, name in enumerate(class_names)
        if (labels == index).any()
    }
    result: dict[str, Any] = {"top1": round(float(right.mean()), 6), "images": len(labels), "per_class": per_class}
    if domains is not None:
        names = np.asarray(domains)
        result["per_domain"] = {str(name): round(float(right[names == name].mean()), 6) for name in np.unique(names)}
    return result
