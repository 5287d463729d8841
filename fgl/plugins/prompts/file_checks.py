"""What is wrong with the rows of a prompts file together, though each is well by itself; each problem with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fgl.plugins.prompts.identical_classes import folded

if TYPE_CHECKING:
    from fgl.plugins.prompts.prompts_file import Row


_LEAST_SHARE = 1e-6  # of the largest weight of a class: a client with one sample of it could send no less


def weights_apart(rows: Sequence[Row]) -> list[str]:
    """No client could send a row that stands for so little beside the others of its class."""
    largest: dict[int, float] = {}
    for row in rows:
        largest[row.class_id] = max(largest.get(row.class_id, 0.0), row.share)
    return [
        f"line {row.line}: weight: got {row.share:g}; expected more than a millionth of the largest of its class, "
        f"{largest[row.class_id]:g}"
        for row in rows
        if row.share <= largest[row.class_id] * _LEAST_SHARE
    ]


def same_of_two(rows: Sequence[Row], class_names: Sequence[str]) -> list[str]:
    """A class of which every prompt is another's too: nothing would tell images of the two apart."""
    first: dict[tuple[str, str], dict[int, Row]] = {}
    keys: dict[int, set[tuple[str, str]]] = {}
    for row in rows:
        key = (folded(row.text), folded(row.negative or ""))
        first.setdefault(key, {}).setdefault(row.class_id, row)
        keys.setdefault(row.class_id, set()).add(key)
    found = []
    for class_id, own in keys.items():
        others = set.intersection(*(set(first[key]) for key in own)) - {class_id}
        for other in sorted(others):
            if other < class_id or keys[other] != own:  # two that are equal are said once
                key = next(iter(sorted(own)))
                mine, its = first[key][class_id], first[key][other]
                found.append(
                    f"line {mine.line}: prompt: class {class_names[class_id]!r} has no prompt that class "
                    f"{class_names[other]!r} does not have too (line {its.line}); expected words that tell them apart"
                )
    return found


__all__ = ["same_of_two", "weights_apart"]
