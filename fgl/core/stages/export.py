"""Write the final classifier in Hugging Face format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load_file

from fgl.core.stages import rounds
from fgl.core.stages.model_card import card
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.stages.train import context
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.contracts.classifier import TrainedClassifier
    from fgl.core.session import Session


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Nothing but the files."""


def export_inputs(session: Session, made_by: str) -> Inputs:
    """made_by: digest of what the stage that wrote the final model made."""
    return {
        "model": made_by,
        "classes": session.info.class_names,
        "dataset": session.info.digest,
        "preparation": session.real_inputs,
    }


def _work(session: Session, done: Done, digest: str) -> Work[ExportResult]:
    """Save `classifier/`, in Hugging Face format."""
    model = session.classifier.restore(load_file(rounds.final_state(session)), context(session, "export"))
    readme = card(session, rounds.final_scores(session, done), session.config.rounds.count)
    return ExportResult(), _save(session, model, readme)


STAGE = Stage(
    name="export",
    needs=("train", "evaluate", "rounds"),
    result=ExportResult,
    inputs=lambda session, done: export_inputs(session, rounds.final_model(session, done)),
    work=_work,
    outputs=("classifier",),
)


def _save(session: Session, model: TrainedClassifier, readme: str) -> list[Path]:
    folder = session.run.path("classifier")

    def write(part: Path) -> None:
        model.save(part, "last")
        (part / "README.md").write_text(readme, encoding="utf-8")

    try:
        return session.run.write_folder(folder, write)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {folder}: {error}; free some space and run the same command again") from error
