"""Shared by the partitioners: client ids, and cutting samples into parts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from fgl.errors import PartitionError


def client_ids(count: int) -> list[str]:
    """Ids "client-00", "client-01", ..., with enough digits that alphabetical order is numerical order."""
    width = max(2, len(str(count - 1)))
    return [f"client-{number:0{width}}" for number in range(count)]


def named_ids(names: Sequence[str], each: int) -> list[str]:
    """Ids for `each` clients of every name: "hospital-e", or "hospital-e-0", "hospital-e-1".

    Since an id is a file name, letters become lower case and lose their marks, and other characters than letters and
    digits become hyphens. If nothing is left of a name, the id is "client-03", by its position. Names that become equal
    are numbered from 2.
    """
    width = max(2, len(str(len(names) - 1)))
    ids: list[str] = []
    for place, name in enumerate(names):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].rstrip("-") or f"client-{place:0{width}}"
        digits = len(str(each - 1))
        for start in ("", *(f"-{number}" for number in range(2, len(names) + 2))):
            mine = [f"{base}{start}"] if each == 1 else [f"{base}{start}-{part:0{digits}}" for part in range(each)]
            if not set(mine) & set(ids):
                ids += mine
                break
    return ids


def equal_parts(positions: Sequence[int], parts: int, rng: np.random.Generator) -> list[list[int]]:
    """`positions`, shuffled and cut into parts whose sizes differ by at most one, each sorted."""
    return [sorted(part.tolist()) for part in np.array_split(rng.permutation(np.asarray(positions)), parts)]


def check_enough(samples: int, clients: int, minimum: int = 1) -> None:
    """Raises PartitionError if the samples cannot give every client `minimum`."""
    if clients * minimum > samples:
        needs = f"{minimum} each" if minimum > 1 else "one each"
        change = "lower clients or min_samples" if minimum > 1 else "lower clients"
        raise PartitionError(f"{samples} samples cannot give {clients} clients {needs}; {change}")
