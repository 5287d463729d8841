"""A classifier: what is trained on the synthetic images.

It starts as a built-in one with an option of its own. Replace its methods one by one: see the protocols
`fgl.Classifier` and `fgl.TrainedClassifier`.
"""

from __future__ import annotations

from typing import Any

import fgl
from fgl import FitContext, LabelledPixels, Options, TrainedClassifier
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `classifier:`."""

    epochs: int = Field(5, ge=1, description="Epochs of training.")
    image_size: int = Field(32, ge=8, description="Side of the squares that images are resized to, in pixels.")


class Mine:
    """Equal data, seed and options give equal weights."""

    def __init__(self, options: MineOptions) -> None:
        self.base: Any = fgl.create(
            "classifier", "small", epochs=options.epochs, image_size=options.image_size, batch_size=16
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def fit(self, train: LabelledPixels, validation: LabelledPixels | None, context: FitContext) -> TrainedClassifier:
        trained: TrainedClassifier = self.base.fit(train, validation, context)
        return trained
