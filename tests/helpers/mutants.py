"""Files that somebody damaged, or wrote in the hope of damage: the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

_PIECES = (
    b"[", b"]", b"{", b"}", b": ", b"- ", b"\n", b"&a ", b"*a", b"<<: ", b"null", b"1e999", b"-1", b"NaN", b'"', b"'",
    b"0x", b"!!int ", b"\xff", b"\xc3\xa9", b"9" * 21, b"../", b"\0", b"\x1b[31m", b"\xe2\x80\xae", b".inf", b"|\n",
)  # fmt: skip
_VALUES = (None, -1, 0, 10**9, 10**30, "x", "\x1b[31mred", "../../etc/passwd", [], {}, [1], [[]], True, 1.5, 1e308)


def mutants(files: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """Bits, cuts, insertions, repetitions, up to six of them in a file."""
    draw = random.Random(seed)
    for _ in range(count):
        data = bytearray(draw.choice(files))
        for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
            start = draw.randrange(len(data) + 1)
            end = min(len(data), start + draw.choice((1, 1, 2, 4, 8, 20)))
            match draw.randrange(6):
                case 0:
                    data[start:end] = bytes(byte ^ 1 << draw.randrange(8) for byte in data[start:end])
                case 1:
                    del data[start:end]
                case 2:
                    data[start:start] = draw.choice(_PIECES)
                case 3:
                    data[start:end] = draw.choice(_PIECES)
                case 4:
                    data[start:start] = data[start:end] * draw.choice((1, 2, 50))
                case 5:
                    del data[start + len(data) // 8 :]
        yield bytes(data)


def with_other_values(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """A JSON object with something else in one of its places, or without it."""
    draw = random.Random(seed)
    for _ in range(count):
        value: Any = json.loads(data)
        place, keys = value, list(value)
        while keys:
            key = draw.choice(keys)
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw.random() < 0.7:
                place, keys = inner, list(inner if isinstance(inner, dict) else range(len(inner)))
                continue
            if draw.random() < 0.2:
                del place[key]
            else:
                place[key] = draw.choice(_VALUES)
            break
        yield json.dumps(value).encode()
