"""A generator for each client: every row is synthesized by that of the client that sent it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import Shard
from fgl.core.store.owned import digest_of

if TYPE_CHECKING:
    from fgl.contracts.generator import Encoder, Generator, ImageBatch, Synthesizer, UploadSchema
    from fgl.contracts.product import Product


class GeneratorPerClient:
    """As one generator (contract `Generator`).

    Args:
        base: What they have in common: the encoder, and what they yield.
        product: What they yield.
        each: Generator of each client that has one of its own.
        others: Generator of the clients that have none.
    """

    def __init__(self, base: Generator, product: Product, each: Mapping[str, Generator], others: Generator) -> None:
        self._base, self._product, self._each, self._others = base, product, dict(each), others

    def of(self, client_id: str) -> Generator:
        """The generator of a client's rows."""
        return self._each.get(client_id, self._others)

    def declare(self) -> UploadSchema:
        return self._base.declare()

    def product(self) -> Product:
        return self._product

    def fingerprint(self) -> str:
        """sha256 over those of all."""
        each = {client: generator.fingerprint() for client, generator in sorted(self._each.items())}
        return digest_of({"each": each, "others": self._others.fingerprint()})

    def encoding(self) -> Mapping[str, object]:
        return self._base.encoding()

    def rounding(self, device: str) -> Mapping[str, object]:
        return self._others.rounding(device)

    def describe(self) -> Mapping[str, object]:
        return self._base.describe()

    def encoder(self, device: str) -> Encoder:
        return self._base.encoder(device)

    def synthesizer(self, device: str) -> Synthesizer:
        return SynthesizerPerClient(self, device)

    def aggregate(
        self, uploads: Sequence[ClientUpload], aggregate: Callable[[Sequence[ClientUpload], str], Conditioning]
    ) -> Conditioning:
        """Each client's rows, put together by themselves: a row that two clients share is two rows, since two
        generators make images of it. aggregate: as `Aggregator.aggregate`."""
        clients = sorted({upload.client_id for upload in uploads})
        return _joined(
            {
                client: aggregate([upload for upload in uploads if upload.client_id == client], self.identity(client))
                for client in clients
            }
        )

    def identity(self, client_id: str) -> str:
        """Fingerprint of what makes images of a client's rows."""
        return self.of(client_id).fingerprint()


class SynthesizerPerClient:
    """The synthesizers behind one (contract `Synthesizer`). One is held at a time, since each holds a whole model; the
    plan therefore has the images of a client beside each other."""

    def __init__(self, generators: GeneratorPerClient, device: str) -> None:
        self._generators, self._device = generators, device
        self._held: tuple[str, Synthesizer] | None = None
        # an executor may fill shards in several threads, and would have each other's model loaded in turn
        self._lock = threading.Lock()
        self._notes: dict[str, object] = {}

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        for client, items in groupby(shard.items, lambda item: client_of(conditioning, item.conditioning)):
            with self._lock:
                part = Shard(shard.index, tuple(items))
                synthesizer = self._of(client)
                yield from synthesizer.synthesize(part, conditioning, progress)
                self._notes.update(synthesizer.notes())

    def notes(self) -> Mapping[str, object]:
        return dict(self._notes)

    def _of(self, client_id: str) -> Synthesizer:
        generator = self._generators.of(client_id)
        key = generator.fingerprint()
        if self._held is None or self._held[0] != key:
            self._held = None  # before the next one is loaded, or memory would hold both
            self._held = key, generator.synthesizer(self._device)
        return self._held[1]


def client_of(conditioning: Conditioning, row: int) -> str:
    """The client whose generator makes images of a row of `GeneratorPerClient.aggregate`."""
    return conditioning.sources[int(conditioning.source[row])].client_id


def _joined(parts: Mapping[str, Conditioning]) -> Conditioning:
    """Conditionings of single clients as one, whose sources say whose each is."""
    sources: list[ClientUpload] = []
    offsets = []
    for client, part in parts.items():
        offsets.append(len(sources))
        # an aggregator may have made a source of its own
        sources += [replace(source, client_id=client) for source in part.sources]
    each = list(parts.values())
    ids = [row for part in each for row in part.ids]
    classes = np.concatenate([part.class_id for part in each])
    order = sorted(range(len(ids)), key=lambda row: (int(classes[row]), ids[row]))
    domains = [domain for part in each for domain in part.domain]
    return Conditioning(
        ids=tuple(ids[row] for row in order),
        class_id=classes[order],
        weight=np.concatenate([part.weight for part in each])[order],
        domain=tuple(domains[row] for row in order),
        guidance_scale=np.concatenate([part.guidance_scale for part in each])[order],
        source=np.concatenate([part.source + offset for part, offset in zip(each, offsets, strict=True)])[order],
        row=np.concatenate([part.row for part in each])[order],
        clients=np.ones(len(ids), dtype=np.int64),
        sources=tuple(sources),
    )
