"""Who holds what, as a partitioner says, checked: ids become names of files, and positions samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import CLIENT_ID
from fgl.errors import BrokenPluginError
from fgl.text import quoted

if TYPE_CHECKING:
    from fgl.contracts.dataset import ImageSet
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager


def divide(manager: PluginManager, config: RunConfig, train: ImageSet) -> dict[str, list[int]]:
    """Client id → positions of its samples in `train`, sorted; no sample is two clients'.

    Raises PartitionError where the samples cannot be divided so, BrokenPluginError where what the partitioner returns
    is no division."""
    partitioner = manager.create("partition", config.partition)
    try:
        return _checked(partitioner.partition(train.labels, train.domains, config.seed), len(train))
    except _WrongError as error:
        name = config.partition.name
        whose = manager.registry.find("partition", name).distribution
        raise BrokenPluginError(f"partitioner {name!r} of {whose} {error}") from error


class _WrongError(Exception):
    pass


def _checked(divided: Any, samples: int) -> dict[str, list[int]]:
    if not isinstance(divided, Mapping):
        raise _WrongError(f"returned {type(divided).__name__}; expected a mapping of client ids to positions")
    holders: dict[int, str] = {}
    found = {}
    for client, rows in divided.items():
        if not isinstance(client, str) or not re.fullmatch(CLIENT_ID, client):
            raise _WrongError(
                f"returned the client id {quoted(client)}; expected a letter or digit, then letters, digits, '.', '_' "
                "and '-', 100 at most: an id becomes a file name"
            )
        found[client] = sorted(_positions(client, rows, samples))
        for row in found[client]:
            if row in holders:
                both = f"to {holders[row]} and {client}" if holders[row] != client else f"twice to {client}"
                raise _WrongError(f"gave the sample at {row} {both}; expected each once")
            holders[row] = client
    return found


def _positions(client: str, rows: Any, samples: int) -> list[int]:
    well = isinstance(rows, Sequence | np.ndarray) and not isinstance(rows, str | bytes)
    if not well or not all(isinstance(row, int | np.integer) and not isinstance(row, bool) for row in rows):
        raise _WrongError(f"gave {client} {quoted(rows)}; expected a list of whole numbers, positions of samples")
    outside = [int(row) for row in rows if not 0 <= row < samples]
    if outside:
        raise _WrongError(f"gave {client} the position {outside[0]}; expected 0 to {samples - 1}")
    return [int(row) for row in rows]
