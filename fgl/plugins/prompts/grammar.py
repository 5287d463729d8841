"""Many descriptions of how something can look in a photograph, without a model: one phrase from each list."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np


def describe(parts: Sequence[Sequence[str]], count: int, random: np.random.Generator) -> list[str]:
    """Up to `count` distinct "phrase, phrase, …" with one phrase from each part, each phrase about equally often.

    Fewer if the parts have fewer combinations.
    """
    parts = [part for part in parts if part]
    total = prod(len(part) for part in parts)
    if count >= total // 2:  # if most of them are wanted, draw from the list of all
        order = random.permutation(total)[:count]
        return [_join(parts, np.unravel_index(index, [len(part) for part in parts])) for index in order.tolist()]
    texts: dict[str, None] = {}
    while len(texts) < count:
        wanted = count - len(texts)
        columns = [_evenly(len(part), wanted, random) for part in parts]
        texts |= dict.fromkeys(_join(parts, row) for row in zip(*columns, strict=True))
    return list(texts)


def _join(parts: Sequence[Sequence[str]], row: Sequence[int]) -> str:
    return ", ".join(part[int(index)] for part, index in zip(parts, row, strict=True))


def _evenly(choices: int, count: int, random: np.random.Generator) -> list[int]:
    """`count` numbers below `choices`, whose frequencies differ by at most one."""
    rounds = [random.permutation(choices) for _ in range(-(-count // choices))]
    return [int(index) for index in np.concatenate(rounds)[:count]]


__all__ = ["describe"]
