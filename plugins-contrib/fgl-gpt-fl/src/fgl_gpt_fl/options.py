"""Options of GPT-FL."""

from __future__ import annotations

from fgl import Options
from pydantic import Field, field_validator


class GptFlOptions(Options):
    prompts_per_class: int = Field(200, ge=1, description="prompts for each class")
    text_model: str | None = Field(
        None, description="folder or Hub id of a text model that writes the prompts; null: a grammar of phrases"
    )
    guidance: tuple[float, float] = Field(
        (1.0, 6.0), description="low and high: the guidance scale of each image is drawn between them"
    )
    scheduler: str | None = Field(
        "DPMSolverMultistepScheduler", description="class name of a diffusers scheduler; null: the generator's own"
    )
    rounds: int = Field(20, ge=0, description="rounds of the federated algorithm after the one-shot model")
    algorithm: str = Field("fedavg", description="the federated algorithm, by name")

    @field_validator("guidance")
    @classmethod
    def _ordered(cls, guidance: tuple[float, float]) -> tuple[float, float]:
        if not 1 <= guidance[0] <= guidance[1]:
            raise ValueError("expected [low, high] with 1 <= low <= high")
        return guidance
