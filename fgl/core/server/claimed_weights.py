"""What clients say that their rows stand for, bounded beside each other: weights are their own word."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fgl.contracts.aggregator import ClientUpload

# A client that gives this share of a class that others have too decides what the class looks like …
_SHARE = 0.9
# … and is named where what it claims of that class is so many times what the median client claims in all.
_TIMES = 4.0


def factors(totals: Mapping[str, float], ratio: float) -> dict[str, float]:
    """Client → what its weights are multiplied by, of those that claim more than `ratio` times the median client's
    total. Of an even number of clients the lower middle counts: of two, that is the smaller."""
    if len(totals) < 2:
        return {}
    most = ratio * statistics.median_low(totals.values())
    return {name: most / total for name, total in sorted(totals.items()) if total > most}


def limited(uploads: Sequence[ClientUpload], ratio: float) -> list[ClientUpload]:
    found = factors({upload.client_id: float(upload.weight.sum()) for upload in uploads}, ratio)
    return [
        replace(upload, weight=upload.weight * found[upload.client_id]) if upload.client_id in found else upload
        for upload in uploads
    ]


@dataclass(frozen=True, slots=True)
class Dominant:
    """A client that by its own account gives nearly all of a class, though others have it too."""

    client_id: str
    """The client."""
    class_name: str
    """The class."""
    claimed: float
    """Samples of the class that this client claims."""
    total: float
    """Samples of the class that all clients claim."""
    others: int
    """Other clients that have the class."""


def dominant(claims: Mapping[str, Sequence[float]], class_names: Sequence[str]) -> list[Dominant]:
    """Clients that by their own account give nearly all of a class, though others have it, and far more of it than the
    median client has of everything. claims: client → weight of each class. An honest client may well be among them."""
    if len(claims) < 2:
        return []
    middle = statistics.median_low(sum(each) for each in claims.values())
    found = []
    for place, class_name in enumerate(class_names):
        of_class = {name: each[place] for name, each in claims.items() if each[place] > 0}
        total = sum(of_class.values())
        found += [
            Dominant(name, class_name, claimed, total, len(of_class) - 1)
            for name, claimed in sorted(of_class.items())
            if len(of_class) > 1 and claimed >= _SHARE * total and claimed > _TIMES * middle
        ]
    return found
