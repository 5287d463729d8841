"""What there is to fill, in this process or sent to another one.

The components in it cross as names and options, and are made again where they arrive: a generator may hold what cannot
be pickled. Uploads cross as the places of their files. All else is pickled as it is.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from fgl.contracts.generator import Shard
from fgl.core.plugin_manager import PluginManager
from fgl.core.synthesis.painting import Painting
from fgl.core.synthesis.shards import EncodedImage, ShardStore, key_of
from fgl.errors import BrokenPluginError
from fgl.text import kind_and_line

if TYPE_CHECKING:
    from fgl.contracts.aggregator import Conditioning
    from fgl.contracts.generator import Generator, PlanItem, Synthesizer
    from fgl.core.registry import Registry
    from fgl.core.session import Session


@dataclass(slots=True)
class Filling:
    """Shards to fill, with all that it takes. missing: number of a shard → its items that no earlier shard holds.
    conditioning: called where something is missing."""

    painting: Painting
    generator: Generator
    store: ShardStore
    shards: Mapping[int, Shard]
    missing: Mapping[int, tuple[PlanItem, ...]]
    conditioning: Callable[[], Conditioning]
    _synthesizers: dict[str, Synthesizer] = field(default_factory=dict)
    # an executor may fill shards in several threads
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def synthesizer(self, device: str, index: int) -> Synthesizer | None:
        """Who paints on a device, loaded once; None where nothing of the shard has to be painted."""
        if not self.missing[index] or not self.painting.product.synthesized:
            return None
        with self._loading:
            if device not in self._synthesizers:
                self._synthesizers[device] = self.generator.synthesizer(device)
            return self._synthesizers[device]

    def items(
        self, synthesizer: Synthesizer | None, index: int, advance: Callable[[int], None]
    ) -> Iterator[tuple[PlanItem, Any]]:
        """The missing items of a shard, each with what is kept of it."""
        missing = self.missing[index]
        if missing:
            yield from self.painting.items(synthesizer, Shard(index, missing), self.conditioning(), advance)

    def commit(self, shard: Shard, made: Mapping[str, EncodedImage], notes: Mapping[str, object]) -> None:
        with self._writing:
            self.store.write(shard, made, notes)

    def packed(self, registry: Registry) -> bytes:
        """Pickled. Raises what pickling raises."""
        store, items = self.store, [item for shard in self.shards.values() for item in shard.items]
        conditioning = self.conditioning() if any(self.missing.values()) else None
        parts = (
            self.painting,
            self.generator,
            replace(store, _places={key: store.places[key] for key in map(key_of, items) if key in store.places}),
            self.shards,
            self.missing,
            conditioning,
        )
        file = io.BytesIO()
        _Pickler(file, registry).dump(parts)
        return file.getvalue()


class Order:
    """What a `ShardJob` carries: a filling, which is packed when it crosses to another process and unpacked when the
    first shard is begun there."""

    def __init__(self, filling: Filling | None, session: Session | None, packed: bytes = b"") -> None:
        self._filling, self._session, self._packed = filling, session, packed
        self._lock = threading.Lock()

    @property
    def filling(self) -> Filling:
        with self._lock:
            if self._filling is None:
                painting, generator, store, shards, missing, conditioning = pickle.loads(self._packed)
                self._filling = Filling(painting, generator, store, shards, missing, lambda: conditioning)
                self._packed = b""
            return self._filling

    def __reduce__(self) -> tuple[Callable[..., Order], tuple[bytes]]:
        if self._packed:
            return _arrived, (self._packed,)
        if self._filling is None or self._session is None:
            raise pickle.PicklingError("an order that has been unpacked is not sent on")
        try:
            return _arrived, (self._filling.packed(self._session.manager.registry),)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            config = self._session.config
            raise BrokenPluginError(
                f"what aggregator {config.aggregator.name!r} or generator {config.generator.name!r} returned cannot be "
                f"sent to another process ({kind_and_line(error, 200)}); use executor=local"
            ) from error


def _arrived(packed: bytes) -> Order:
    return Order(None, None, packed)


class _Pickler(pickle.Pickler):
    """Writes a component as what it was made from."""

    def __init__(self, file: io.BytesIO, registry: Registry) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._registry = registry

    def reducer_override(self, value: Any) -> Any:
        origin = self._registry.origin(value)
        return NotImplemented if origin is None else (_made_again, origin)


def _made_again(family: str, name: str, options: dict[str, Any]) -> Any:
    return _manager().registry.create(family, name, options)


@cache
def _manager() -> PluginManager:
    """That of a process which fills what another one has sent."""
    return PluginManager.load()
