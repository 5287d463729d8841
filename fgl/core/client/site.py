"""What a client has loaded: its data, its prompt strategy, the text encoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import ImageSet, Subset
from fgl.contracts.generator import Footprint
from fgl.contracts.product import SupportsProduct
from fgl.contracts.progress import NullProgress
from fgl.core import footprint
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import RunConfig
from fgl.core.data import decode_for, features_for
from fgl.core.encoding import doubtful_names
from fgl.core.partitioning import divide
from fgl.core.plugin_manager import PluginManager
from fgl.core.wire import codecs
from fgl.core.wire.codecs import TEXT
from fgl.errors import DataError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.contracts.classifier import Classifier
    from fgl.contracts.codec import Codec
    from fgl.contracts.features import FeatureSpace
    from fgl.contracts.generator import Encoder, Generator, UploadSchema
    from fgl.contracts.preparation import Preparation
    from fgl.contracts.product import Product


log = logging.getLogger(__name__)


def release() -> None:
    """Let go of what simulated clients have loaded: a captioning model has no business beside the denoiser."""
    _site.cache_clear()


class Site:
    """What a client has loaded. Simulated clients of one process share it, as they share the machine."""

    def __init__(self, config: RunConfig, manager: PluginManager, device: str, data: str) -> None:
        self.config = config
        dataset = _dataset(strict_json.dumps([config.dataset.name, config.dataset.options], sort_keys=True), data)
        info = dataset.info()
        notes = (*info.notes, doubtful_names(info)) if config.upload.clients is not None else ()  # else the run says so
        for note in filter(None, notes):
            log.warning("%s: %s", info.name, note)
        self.class_names: tuple[str, ...] = info.class_names
        self.prompt_names: tuple[str, ...] = info.names_in_prompts
        # A client with data of its own does not see which domains there are elsewhere.
        self.domains: tuple[str, ...] | None = info.domains if config.upload.clients is None else None
        self.about = {
            "name": info.name,
            "kind": config.dataset.name,
            "source": info.source,
            "skipped": len(info.skipped),
        }
        self.left_out = {
            name: len(images) for name in ("test", "public") if (images := dataset.split(name)) is not None
        }
        self.train = dataset.split("train")
        if self.train is None:
            raise DataError("the dataset has no train split: there is nothing that a client could hold (dataset.holds)")
        self.partition: dict[str, list[int]] = {}
        if config.upload.clients is None:
            self.partition = divide(manager, config, self.train)
        self.strategy: Any = manager.create("prompt_strategy", config.prompt_strategy)
        self.strategy_entry = manager.registry.find("prompt_strategy", config.prompt_strategy.name)
        self.filters = [
            (manager.registry.find("upload_filter", one.name), manager.create("upload_filter", one))
            for one in config.upload.chain()
        ]
        self.manager, self._device = manager, device

    # What a client with the codec text has no need of, and whose weights it must not pull.
    @cached_property
    def generator(self) -> Generator:
        found: Generator = self.manager.create("generator", self.config.generator)
        return found

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """Codecs in which it may write, by name."""
        return codecs.table(self.manager.registry, self.config.upload.codec)

    @cached_property
    def loaded(self) -> Footprint | None:
        """What this client needs of the generator, all of which is pulled; None where the generator does not tell."""
        if self.config.upload.codec == TEXT and not footprint.needs_generator(self.config, self.manager.registry):
            return Footprint((), 0, 0)
        return footprint.of_client(self.config, self.generator, self.manager.registry)

    @cached_property
    def declaration(self) -> UploadSchema:
        return self.generator.declare()

    @cached_property
    def encoder(self) -> Encoder:
        return self.generator.encoder(self._device)

    @cached_property
    def classifier(self) -> Classifier:
        found: Classifier = self.manager.create("classifier", self.config.classifier)
        return found

    @cached_property
    def space(self) -> FeatureSpace:
        found: FeatureSpace = self.manager.create("features", self.config.features)
        return found

    @cached_property
    def product(self) -> Product | None:
        """What the generator yields, where that is not images."""
        return self.generator.product() if isinstance(self.generator, SupportsProduct) else None

    def inputs(self, images: ImageSet, prepare: Preparation, label: str, train: bool = False) -> Any:
        """Images as the run's classifier takes them: LabelledPixels, or LabelledArrays of another product. prepare:
        what the server says that images become."""
        if isinstance(self.generator, SupportsProduct):
            return features_for(images, self.generator, self._device, NullProgress(), label)
        return decode_for(images, prepare, NullProgress(), label, train)

    def positions(self, client_id: str) -> Labels:
        """Which of the training samples the client holds. Raises DataError as `samples` does."""
        count = len(self.samples(client_id))
        mine = self.partition.get(client_id)
        return np.arange(count) if mine is None else np.array(mine, dtype=np.int64)

    def samples(self, client_id: str) -> ImageSet:
        """What the client holds: its part of the partition, or all, where the dataset is its own. Raises DataError."""
        known = self.partition if self.config.upload.clients is None else self.config.upload.clients
        if client_id not in known:
            raise DataError(f"there is no client {client_id!r}; there are {', '.join(list(known)[:20])}")
        return self.train if self.config.upload.clients is not None else Subset(self.train, self.partition[client_id])


def site_of(asked: Mapping[str, object]) -> Site:
    """What a request of the server's needs. asked: its config, device and data, as in `request`."""
    return _site(strict_json.dumps(asked["config"], sort_keys=True), asked["device"], asked["data"])


@lru_cache(maxsize=1)
def _site(config: str, device: str, data: str) -> Site:
    manager = PluginManager.load()
    return Site(resolve([strict_json.loads(config)], manager.registry), manager, device, data)


@lru_cache(maxsize=1)
def _dataset(selected: str, data: str) -> Any:
    """Kept apart from the site: another prompt strategy over the same images does not read them again."""
    name, options = strict_json.loads(selected)
    return PluginManager.load().registry.create("dataset", name, options)
