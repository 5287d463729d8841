"""Classes that become the same numbers: what is drawn from them cannot differ, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.text import escaped

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning, Rows
    from fgl.contracts.arrays import Array


Pair = tuple[int, int]


def of_arrays(arrays: Mapping[str, Rows], indices: Mapping[str, Array], class_id: Sequence[int]) -> list[Pair]:
    """Pairs of classes, every row of the first of which is a row of the second. arrays, indices: as in ClientUpload."""
    digests: list[bytes] = []
    for row in range(len(class_id)):
        total = hashlib.sha256()
        for name in sorted(arrays):
            pointer = int(indices[name][row]) if name in indices else row
            total.update(_digest(arrays[name][pointer]) if pointer >= 0 else b"-")
        digests.append(total.digest())
    return _pairs(digests, class_id)


def of_conditioning(conditioning: Conditioning) -> list[Pair]:
    """`of_arrays` of what all clients sent."""
    names = sorted({name for source in conditioning.sources for name in source.arrays})
    digests = []
    for row in range(len(conditioning)):
        total = hashlib.sha256()
        for name in names:
            found = conditioning.gather(name, [row])[0]
            total.update(b"-" if found is None else _digest(found))
        digests.append(total.digest())
    return _pairs(digests, conditioning.class_id.tolist())


def _digest(row: Array) -> bytes:
    array = np.ascontiguousarray(row)
    return hashlib.sha256(array.dtype.str.encode() + array.reshape(-1).view(np.uint8).data).digest()


def _pairs(digests: Iterable[bytes], class_id: Sequence[int]) -> list[Pair]:
    held: dict[int, set[bytes]] = {}
    holders: dict[bytes, set[int]] = {}
    for digest, number in zip(digests, class_id, strict=True):
        held.setdefault(number, set()).add(digest)
        holders.setdefault(digest, set()).add(number)
    found = set()
    for number, rows in held.items():
        others = set.intersection(*(holders[digest] for digest in rows)) - {number}
        found |= {(min(number, other), max(number, other)) for other in others}
    return sorted(found)


def told(pairs: Sequence[Pair], class_names: Sequence[str]) -> str:
    """What is wrong, and what to do."""
    named = [f"'{escaped(class_names[one])}' and '{escaped(class_names[other])}'" for one, other in pairs]
    return (
        f"classes alike: the prompts of {'; of '.join(named[:5])}{'; …' if len(named) > 5 else ''} become the same "
        "numbers in the text encoder, so that images of one would be images of the other. Give them words that tell "
        "them apart (the dataset's option labels), at the beginning where prompts are cut"
    )
