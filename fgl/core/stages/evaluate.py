"""Test the classifier, once, on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file

from fgl.core.report import metrics
from fgl.core.stages.train import WHICH, context, state_path

if TYPE_CHECKING:
    from fgl.contracts.classifier import CheckpointName, TrainedClassifier
    from fgl.core.session import Session


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


def score(session: Session, model: TrainedClassifier, which: CheckpointName) -> dict[str, Any]:
    """What `metrics.measure` finds over the real test split."""
    test = session.inputs("test")
    predicted = model.predict(test.pixels, which, session.progress)
    return metrics.measure(predicted, test.labels, session.info.class_names, session.split("test").domains)
