"""A linear head on features, however it was fitted (contract `TrainedClassifier`).

Shapes: n items, d features, c classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from fgl.errors import DataError, ModelError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.classifier import CheckpointName, FitContext
    from fgl.contracts.dataset import LabelledPixels
    from fgl.contracts.product import LabelledArrays
    from fgl.contracts.progress import Progress

State = dict[str, "Array"]
FORMULA = "scores = features @ weight.T + bias"
_SHARE = 4096
"""Items whose scores are computed together."""


class Head:
    """Scores are linear in the features: weight [c, d] and bias [c]."""

    def __init__(
        self,
        class_names: Sequence[str],
        selected: State,
        last: State,
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self._class_names = tuple(class_names)
        self._states = {"selected": selected, "last": last}
        self._history = tuple(history)

    def predict(self, values: Array, which: CheckpointName, progress: Progress | None = None) -> Labels:
        """float32 [n, d] → class ids, int64 [n]."""
        labels: Labels = self.logits(values, which, progress).argmax(axis=1).astype(np.int64)
        return labels

    def logits(self, values: Array, which: CheckpointName, progress: Progress | None = None) -> Array:
        """float32 [n, d] → scores, float32 [n, c]."""
        state = self._states[which]
        parts: list[Array] = [np.empty((0, len(self._class_names)), dtype=np.float32)]
        for start in range(0, len(values), _SHARE):
            points: Array = np.asarray(values[start : start + _SHARE], dtype=np.float32)
            parts.append(points @ state["weight"].T + state["bias"])
        return np.concatenate(parts)

    def features(self, values: Array, which: CheckpointName, progress: Progress | None = None) -> Array:
        """The inputs of the only layer: the features themselves."""
        return np.asarray(values, dtype=np.float32)

    def state(self, which: CheckpointName) -> Mapping[str, Array]:
        """Copies of its arrays by name, float32."""
        return {name: array.copy() for name, array in self._states[which].items()}

    def trained(self) -> Sequence[str]:
        return ["weight", "bias"]

    def history(self) -> Sequence[Mapping[str, float]]:
        return self._history

    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self._states["last"].values())

    def save(self, folder: Path, which: CheckpointName) -> None:
        """Write model.safetensors and config.json, which names the classes and says how scores are computed. No library
        opens such a folder by itself: the features have to be computed first."""
        state = self._states[which]
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, folder / "model.safetensors")
        config = {
            "model_type": "fgl-linear-head",
            "scores": FORMULA,
            "features": state["weight"].shape[1],
            "id2label": {str(index): name for index, name in enumerate(self._class_names)},
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def restored(state: Mapping[str, Array], context: FitContext) -> State:
    """A head's arrays, checked. Raises ModelError if they are not those of a head for these classes."""
    classes, kept = len(context.class_names), {name: np.asarray(array, np.float32) for name, array in state.items()}
    weight, bias = kept.get("weight"), kept.get("bias")
    if set(kept) != {"weight", "bias"} or weight is None or bias is None or weight.ndim != 2:
        raise ModelError(f"a head has weight [c, d] and bias [c]; got {', '.join(sorted(kept))}")
    width = weight.shape[1] if context.product is None else context.product.shape[0]
    shapes = {"weight": (classes, width), "bias": (classes,)}
    for name, array in kept.items():
        if array.shape != shapes[name]:
            raise ModelError(f"{name} of the head is {list(array.shape)}; expected {list(shapes[name])}")
    return kept


def zeros(context: FitContext) -> State:
    """A head before any training. Raises ModelError if the number of features is not known."""
    if context.product is None or len(context.product.shape) != 1:
        raise ModelError("a head reads features, one vector for each image; expected a generator of features")
    classes, width = len(context.class_names), context.product.shape[0]
    return {"weight": np.zeros((classes, width), np.float32), "bias": np.zeros(classes, np.float32)}


def check_set(data: LabelledArrays | LabelledPixels, classes: int, what: str) -> None:
    """Raise DataError if a head cannot be fitted to `data`. what: its name for errors."""
    values, labels = data.values, data.labels
    if not len(labels):
        raise DataError(f"the {what} is empty; expected at least one item")
    if values.ndim != 2 or len(values) != len(labels):
        raise DataError(f"the {what} holds {list(values.shape)} for {len(labels)} labels; expected features [n, d]")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"the {what} has labels from {low} to {high}; expected 0 to {classes - 1}, one per class name")
