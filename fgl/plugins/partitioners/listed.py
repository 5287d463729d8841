"""Clients that hold what a file says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.dataset import CLIENT_ID
from fgl.errors import PartitionError
from fgl.io import strict_json
from fgl.io.files import read_text
from fgl.plugins.partitioners.options import ListedOptions

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


class ListedPartitioner:
    """Client id → positions of its samples, as JSON, such as the `partition.json` of a run. Samples that are not listed
    are nobody's."""

    def __init__(self, options: ListedOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sorted sample positions, in the order of the file. labels: int64 [n].

        Raises PartitionError where the file is none, or its positions are not of these samples."""
        path = self.options.path
        try:
            listed = strict_json.loads(read_text(Path(path).expanduser()))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise PartitionError(f"partition.path: cannot read {path}: {reason}; {_EXPECTED}") from error
        if not isinstance(listed, dict) or not listed or not all(re.fullmatch(CLIENT_ID, client) for client in listed):
            raise PartitionError(f"partition.path: {path} holds no client ids; {_EXPECTED}")
        holder: dict[int, str] = {}
        for client, rows in listed.items():
            for row in _positions(path, client, rows, len(labels)):
                if row in holder:
                    raise PartitionError(f"partition.path: {path}: sample {row} is of {holder[row]} and of {client}")
                holder[row] = client
        return {client: sorted(rows) for client, rows in listed.items()}


_EXPECTED = 'expected {"client-00": [0, 4, 7], …}, as partition.json of a run has it'


def _positions(path: str, client: str, rows: Any, samples: int) -> list[int]:
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < samples for row in rows):
        raise PartitionError(
            f"partition.path: {path}: what {client} holds is no list of positions from 0 to {samples - 1}; is the file "
            "of a run on the same data?"
        )
    return rows
