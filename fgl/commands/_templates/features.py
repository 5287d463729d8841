"""A feature space: where synthetic and real images are compared. Here the mean colors of a grid of cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from fgl import Array, Classifier, Extractor, FitContext, LabelledPixels, Options, Pixels, Progress
from fgl.plugins.features.metrics import Comparing
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `features:`."""

    cells: int = Field(4, ge=1, le=16, description="Cells of the grid in each direction.")


class Colors(Comparing):
    """Ready to use (contract `Extractor`). `Comparing` has `nearest` and `compare` for Euclidean distances."""

    def __init__(self, cells: int) -> None:
        self.cells = cells

    def describe(self) -> Mapping[str, object]:
        """JSON for the report; digest and commit are of the model's weights, which this space does not have."""
        width = 3 * self.cells**2
        return {
            "space": "mine",
            "model": "mean colors",
            "license": "CC0-1.0",
            "dimensions": width,
            "commit": None,
            "digest": None,
        }

    def features(self, pixels: Pixels, progress: Progress) -> Array:
        """uint8 [m, h, w, 3] → float32 [m, d]. An image's features do not depend on the others."""
        rows = []
        with progress.track("features", len(pixels)) as task:
            for image in pixels:
                cells = [part for row in np.array_split(image, self.cells) for part in _columns(row, self.cells)]
                rows.append(np.concatenate([cell.reshape(-1, 3).mean(axis=0) for cell in cells]) / 255)
                task.advance()
        return np.array(rows, dtype=np.float32).reshape(len(pixels), 3 * self.cells**2)


def _columns(row: Pixels, count: int) -> list[Any]:
    return np.array_split(row, count, axis=1)


class Mine:
    """Needs no training."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options

    def learns(self) -> bool:
        return False

    def learn(self, data: LabelledPixels, classifier: Classifier, context: FitContext) -> Mapping[str, Array]:
        return {}

    def extractor(self, state: Mapping[str, Array], classifier: Classifier, context: FitContext) -> Extractor:
        return Colors(self.options.cells)
