"""Test the classifier, once, on real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetensors.numpy import load_file

from fgl.core.report import metrics
from fgl.core.report.metrics import Scores
from fgl.core.stages import train
from fgl.core.stages.stage import Done, Inputs, Stage, Work

if TYPE_CHECKING:
    from fgl.contracts.classifier import CheckpointName, TrainedClassifier
    from fgl.core.session import Session


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """The one-shot model on the real test split."""

    selected: Scores
    """Of the epoch that was selected on synthetic validation images, or of the last one where none was."""
    last: Scores
    """Of the last epoch."""


def evaluate_inputs(session: Session, train_digest: str) -> Inputs:
    return {"train": train_digest, "dataset": session.info.digest, "preparation": session.real_inputs}


def _work(session: Session, done: Done, digest: str) -> Work[EvaluateResult]:
    """Test both checkpoints on the real test split. This is the one place where the result meets it."""
    scores = []
    for which in train.WHICH:
        state = load_file(train.state_path(session, which))
        model = session.classifier.restore(state, train.context(session, "evaluate"))
        scores.append(score(session, model, "last"))
    return EvaluateResult(*scores), []


STAGE = Stage(
    name="evaluate",
    needs=("train",),
    result=EvaluateResult,
    inputs=lambda session, done: evaluate_inputs(session, done.made(train.STAGE)),
    work=_work,
)


def score(session: Session, model: TrainedClassifier, which: CheckpointName) -> Scores:
    """What `metrics.measure` finds over the real test split."""
    test = session.inputs("test")
    predicted = model.predict(test.values, which, session.progress)
    return metrics.measure(predicted, test.labels, session.info.class_names, session.split("test").domains)
