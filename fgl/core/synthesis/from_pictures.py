"""A generator whose images are variations of pictures: every row has pictures of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from fgl.core.store.owned import digest_of
from fgl.core.synthesis.per_client import GeneratorPerClient, client_of

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.generator import Generator, ImageBatch, PlanItem, Shard, SupportsVariation, Synthesizer
    from fgl.contracts.product import Product


class GeneratorFromPictures(GeneratorPerClient):
    """As `GeneratorPerClient`, where the uploads are of groups of pictures in the place of clients.

    Args:
        base: What varies.
        product: What it yields.
        digests: Group -> digest of its pictures.
        pictures: Called once, when images are made: group -> uint8 [p, h, w, 3].
        strength: How far they are varied.
    """

    def __init__(
        self,
        base: Generator,
        product: Product,
        digests: Mapping[str, str],
        pictures: Callable[[], Mapping[str, Pixels]],
        strength: float,
    ) -> None:
        super().__init__(base, product, {}, base)
        self._digests, self._read, self._strength = dict(digests), pictures, strength

    @cached_property
    def _base_fingerprint(self) -> str:
        return self._base.fingerprint()

    @cached_property
    def _pictures(self) -> Mapping[str, Pixels]:
        return self._read()

    def identity(self, client_id: str) -> str:
        return digest_of([self._base_fingerprint, self._digests[client_id], self._strength])

    def fingerprint(self) -> str:
        return digest_of([self._base_fingerprint, self._digests, self._strength])

    def synthesizer(self, device: str) -> Synthesizer:
        base: SupportsVariation = self._base  # type: ignore[assignment]
        return _Synthesizer(base, device, self._pictures, self._strength)


class _Synthesizer:
    """See `GeneratorFromPictures`: one model for all groups."""

    def __init__(self, base: SupportsVariation, device: str, pictures: Mapping[str, Pixels], strength: float) -> None:
        self._pictures = pictures
        self._groups: dict[str, str] = {}
        self._varying = base.varying(device, self._original, strength)

    def _original(self, item: PlanItem) -> Pixels:
        """Of the pictures of its row, one that follows from its identity: not of what it is painted beside."""
        found = self._pictures[self._groups[item.conditioning_id]]
        one: Pixels = found[int(item.image_id, 16) % len(found)]
        return one

    def synthesize(
        self, shard: Shard, conditioning: Conditioning, progress: Callable[[int], None]
    ) -> Iterator[ImageBatch]:
        # only added to: an executor may fill shards in several threads
        self._groups |= {item.conditioning_id: client_of(conditioning, item.conditioning) for item in shard.items}
        yield from self._varying.synthesize(shard, conditioning, progress)

    def notes(self) -> Mapping[str, object]:
        return self._varying.notes()
