"""Options of FedDEO."""

from __future__ import annotations

from fgl import Options
from pydantic import Field, field_validator


class FedDeoOptions(Options):
    template: str = Field("{label}", description="text with {label} whose embedding a description starts from")
    lr: float = Field(10.0, gt=0, description="learning rate of SGD on the embedding")
    epochs: int = Field(1, ge=0, description="passes over the images of a class; 0: the embedding of the text")
    batch_size: int = Field(4, ge=1, description="images of a step")
    max_images: int | None = Field(
        None, ge=1, description="most images of each class that are used, drawn by the client's seed; null: all"
    )

    @field_validator("template")
    @classmethod
    def _with_label(cls, template: str) -> str:
        if "{label}" not in template:
            raise ValueError("expected a text with {label}")
        return template
