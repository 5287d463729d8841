"""Clients that hold the samples that a file lists."""

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
    """Reads a JSON file of client id → sample positions, such as the `partition.json` of a run. Samples that are not
    listed belong to no client."""

    def __init__(self, options: ListedOptions) -> None:
        self.options = options

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sorted sample positions, in the order of the file. labels: int64 [n].

        Raises PartitionError if the file is not such a mapping, or its positions do not fit these samples."""
        path = self.options.path
        try:
            listed = strict_json.loads(read_text(Path(path).expanduser()))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
            raise PartitionError(f"partition.path: cannot read {path}: {reason}; {_EXPECTED}") from error
        if not isinstance(listed, dict) or not listed or not all(re.fullmatch(CLIENT_ID, client) for client in listed):
            raise PartitionError(f"partition.path: {path} holds no client ids; {_EXPECTED}")
        holder: dict[int, str] = {}
        for client, rows in listed.items():
            for row in _positions(path, client, rows, len(labels)):
                if row in holder:
                    raise PartitionError(
                        f"partition.path: {path}: sample {row} belongs to both {holder[row]} and {client}"
                    )
                holder[row] = client
        return {client: sorted(rows) for client, rows in listed.items()}


_EXPECTED = 'expected {"client-00": [0, 4, 7], …}, as in the partition.json of a run'


def _positions(path: str, client: str, rows: Any, samples: int) -> list[int]:
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < samples for row in rows):
        raise PartitionError(
            f"partition.path: {path}: the value of {client} is not a list of positions from 0 to {samples - 1}; is "
            "the file from a run on the same data?"
        )
    return rows
