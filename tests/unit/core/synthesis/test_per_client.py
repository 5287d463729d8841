"""Rows of clients that have a generator each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import fgl
from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import ImageBatch, Shard
from fgl.contracts.product import IMAGES, Product
from fgl.core.synthesis.per_client import GeneratorPerClient, client_of
from fgl.core.synthesis.plan import make_plan


class Painter:
    """A generator whose images are of one value; it counts how often it is loaded."""

    def __init__(self, value: int) -> None:
        self.value, self.loaded = value, 0

    def fingerprint(self) -> str:
        return f"painter {self.value}"

    def rounding(self, device: str) -> Mapping[str, object]:
        return {}

    def synthesizer(self, device: str) -> Painter:
        self.loaded += 1
        return self

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        buffer = np.empty((2, 1, 1, 3), dtype=np.uint8)
        for _ in range(0, len(shard.items), 2):
            buffer[:] = self.value
            yield ImageBatch(buffer)
            buffer[:] = 255  # used again

    def notes(self) -> Mapping[str, object]:
        return {"painted by": self.value}


def upload(client: str, classes: list[int], weights: list[float], value: float = 0.0) -> ClientUpload:
    rows = len(classes)
    embeds = np.full((rows, 2), value, dtype=np.float32) + np.array(classes, dtype=np.float32)[:, None]
    return ClientUpload(
        client,
        0,
        "e",
        {"embeds": embeds},
        {},
        np.array(classes),
        np.array(weights),
        ("",) * rows,
        np.full(rows, np.nan),
    )


@pytest.fixture
def painters() -> dict[str, Painter]:
    return {"a": Painter(1), "b": Painter(2), "": Painter(3)}


@pytest.fixture
def generator(painters: dict[str, Painter]) -> GeneratorPerClient:
    others: Any = painters[""]
    each: Any = {client: painters[client] for client in ("a", "b")}
    return GeneratorPerClient(others, Product(IMAGES, (1, 1, 3), "uint8"), each, others)


@pytest.mark.parametrize("aggregator", ["union", "class-mean"])
def test_rows_that_clients_share_are_painted_by_each_of_them(
    generator: GeneratorPerClient, painters: dict[str, Painter], aggregator: str
) -> None:
    uploads = [upload("a", [0, 1], [3, 1]), upload("b", [0], [1]), upload("c", [1], [1])]
    made = generator.aggregate(uploads, fgl.create("aggregator", aggregator).aggregate)
    assert made.class_id.tolist() == [0, 0, 1, 1]
    assert sorted(made.ids[:2]) == list(made.ids[:2])
    assert len(set(made.ids)) == 4
    assert sorted(client_of(made, row) for row in range(4)) == ["a", "a", "b", "c"]
    for row in range(4):
        (found,) = made.gather("embeds", [row])
        assert np.array_equal(found, np.full(2, made.class_id[row], dtype=np.float32))
    shards = make_plan(made, 4, 0, 3, lambda row: client_of(made, row))
    items = [item for shard in shards for item in shard.items]
    clients = [client_of(made, item.conditioning) for item in items]
    assert clients == sorted(clients)
    # of class 0 three of four images are a's, of class 1 half; c has no generator of its own
    assert clients == ["a"] * 5 + ["b"] + ["c"] * 2
    synthesizer = generator.synthesizer("cpu")
    values = [
        int(pixels.reshape(-1)[0])
        for shard in shards
        for batch in synthesizer.synthesize(Shard(shard.index, shard.items), made, lambda done: None)
        for pixels in batch.pixels
    ]
    # shards of three: 3 of a; 2 of a and 1 of b, as a batch of 2; 2 of c
    assert [value for value in values if value] == [1] * 4 + [1] * 2 + [2] * 2 + [3] * 2
    assert {name: painter.loaded for name, painter in painters.items()} == {"a": 1, "b": 1, "": 1}
    assert synthesizer.notes() == {"painted by": 3}


def test_the_fingerprint_says_whose_is_which(painters: dict[str, Painter]) -> None:
    product, (one, two, other) = Product(IMAGES, (1, 1, 3), "uint8"), painters.values()
    base: Any = other
    prints = {
        GeneratorPerClient(base, product, each, base).fingerprint()
        for each in ({"a": one, "b": two}, {"a": two, "b": one}, {"a": one}, {})
    }
    assert len(prints) == 4
