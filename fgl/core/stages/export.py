"""Write the final classifier in Hugging Face format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from fgl.core.stages.model_card import card
from fgl.core.stages.train import context
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.contracts.classifier import TrainedClassifier
    from fgl.core.session import Session


def export_inputs(session: Session, made_by: str) -> dict[str, Any]:
    return {
        "model": made_by,
        "classes": list(session.info.class_names),
        "dataset": session.info.digest,
        "preparation": session.preparation.inputs(),
    }


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
