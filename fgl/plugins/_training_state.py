"""The state of unfinished training, weights and the optimizer's, as named arrays: for families whose members train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array

OPTIMIZER = "optimizer"
"""The part that `pack` adds to those that it is given."""


def pack(parts: Mapping[str, Mapping[str, Tensor] | None], optimizer: torch.optim.Optimizer) -> dict[str, Array]:
    """ "PART/NAME" → array, in order. Learning rates are not included: they are determined by the step.

    parts: name of a part → its tensors; None for a part that there is not.
    """
    arrays = {
        f"{part}/{name}": array_of(tensor) for part, state in parts.items() for name, tensor in (state or {}).items()
    }
    for index, values in optimizer.state_dict()["state"].items():
        arrays |= {f"{OPTIMIZER}/{index}/{key}": array_of(value) for key, value in values.items() if value is not None}
    return arrays


def unpack(arrays: Mapping[str, Array], parts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Name of a part → its tensors, on the CPU; {} for a part that was not packed. Arrays of no part are left out."""
    states: dict[str, dict[str, Tensor]] = {part: {} for part in (*parts, OPTIMIZER)}
    for name, array in arrays.items():
        part, slash, rest = name.partition("/")
        if slash:
            states[part][rest] = torch.from_numpy(array.copy())
    return states


def load_optimizer(optimizer: torch.optim.Optimizer, packed: Mapping[str, Tensor], weights: Sequence[Tensor]) -> None:
    """Load what `unpack` returned for the optimizer. weights: what it trains, in its order."""
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in packed.items():
        index, _, key = name.partition("/")
        weight = weights[int(index)]
        # In the memory layout of its weight: fused optimizers iterate over both together.
        like = torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape else tensor
        values.setdefault(int(index), {})[key] = like.detach()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": values})


def history_array(history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> Array:
    """float64 [entries, columns]; NaN where an entry lacks a column."""
    return np.array([[entry.get(name, np.nan) for name in columns] for entry in history])


def history_of(array: Array, columns: Sequence[str]) -> list[dict[str, float]]:
    """The entries that `history_array` was given."""
    return [
        {key: value for key, value in zip(columns, row, strict=True) if not math.isnan(value)} for row in array.tolist()
    ]


def array_of(tensor: Tensor) -> Array:
    """On the CPU, in its own dtype."""
    array: Array = tensor.detach().cpu().numpy()
    return array
