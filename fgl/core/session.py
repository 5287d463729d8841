"""What every stage of a run shares: configuration, plugins, data, the run directory, and how a stage is committed."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fgl.contracts.classifier import SupportsPreparation
from fgl.contracts.dataset import DatasetInfo, ImageSet, LabelledPixels
from fgl.contracts.events import StageContext
from fgl.contracts.preparation import Preparation
from fgl.contracts.product import IMAGES, LabelledArrays, Product, SupportsProduct
from fgl.contracts.progress import Progress
from fgl.core import baselines, model_digests
from fgl.core.data import decode, decode_for, features_for
from fgl.core.events import Events
from fgl.core.store.owned import digest_of
from fgl.core.wire import codecs
from fgl.errors import BrokenPluginError, ConfigError, DataError, Problem
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.contracts.classifier import Classifier
    from fgl.contracts.codec import Codec
    from fgl.contracts.dataset import Dataset
    from fgl.contracts.executor import Executor
    from fgl.contracts.generator import Generator
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.store.run_dir import RunDir


LabelledSet = LabelledPixels | LabelledArrays
"""Items of a run's product, with their labels."""


@dataclass(slots=True)
class Session:
    """One run in progress. seconds: of each stage, as it took when it was done."""

    config: RunConfig
    manager: PluginManager
    run: RunDir
    progress: Progress
    dataset: Dataset
    info: DatasetInfo
    generator: Generator
    classifier: Classifier
    executor: Executor
    device: str
    removed_clients: tuple[str, ...] = ()
    """Clients that were taken out, by name. Read when the session is opened, and again when the run is held alone: see
    `fgl.core.server.removed.refresh`."""
    remote_clients: bool = False
    """Whether clients are elsewhere: then their samples are not here, and uploads come in as files."""
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    events: Events = field(init=False)
    _codecs: dict[str, Codec] = field(default_factory=dict)
    _pixels: dict[str, LabelledPixels] = field(default_factory=dict)
    _features: dict[str, LabelledArrays] = field(default_factory=dict)
    _image_size: tuple[int, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.events = Events(self.manager, self.run, self.config)

    def stage(
        self, name: str, inputs: Mapping[str, object], work: Callable[[str], tuple[Any, Sequence[Path]]]
    ) -> tuple[Any, str]:
        """Run a stage, or reuse its commit if it was made from the same inputs.

        inputs: JSON, everything that determines the result. work: called with the digest of the inputs; returns what
        later stages need (JSON) and the files it wrote. Returns that value and the digest."""
        digest = digest_of(inputs)
        record = self.run.committed(name, inputs)
        context = StageContext(str(self.run.root), name)
        self.run.note(self.run.path("metrics.jsonl"))  # trackers write it
        if record is None:
            self.events.stage_started(context)
            start = time.monotonic()
            try:
                value, outputs = work(digest)
                seconds = time.monotonic() - start
                self.run.record(name, inputs, outputs, seconds, value)
            except BaseException as error:
                try:
                    self.events.stage_failed(context, error)
                except Exception as other:  # the run's own error must reach the caller, whatever happens to its log
                    error.add_note(str(other))
                raise
        else:
            value, seconds = record["value"], record["seconds"]
            self.run.checkpoints(name, "").drop()  # killed between the commit and this, it would lie there for good
            self.reused.append(name)
        self.seconds[name] = round(seconds, 2)
        self.events.stage_finished(
            StageContext(str(self.run.root), name, round(seconds, 3), record is not None, _numbers(value))
        )
        return value, digest

    def made(self, name: str, digest: str) -> str:
        """Digest of what a stage made. Inputs alone do not tell it: training rounds otherwise on another number of
        threads, and what follows must then be done again. digest: of its inputs."""
        record = self.run.recorded(name)
        return digest_of({"inputs": digest, "outputs": {} if record is None else record["outputs"]})

    @property
    def device_kind(self) -> str:
        """The device without its number: "cuda" of "cuda:1"."""
        return self.device.split(":")[0]

    @property
    def product(self) -> Product:
        """What the generator yields."""
        if isinstance(self.generator, SupportsProduct):
            return self.generator.product()
        return Product(IMAGES, (*self.image_size, 3), "uint8")

    @property
    def yields_images(self) -> bool:
        return not isinstance(self.generator, SupportsProduct)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of synthetic images, pixels."""
        if self._image_size is None:  # a generator looks at its files to answer, and many ask
            self._image_size = self._stated_image_size()
        return self._image_size

    def _stated_image_size(self) -> tuple[int, int]:
        said = self.generator.describe().get("image_size")
        try:
            height, width = (operator.index(side) for side in cast("Sequence[int]", said))
        except (TypeError, ValueError):
            height = width = 0
        if min(height, width) < 1:
            name = self.config.generator.name
            raise BrokenPluginError(
                f"generator {name!r} says of itself that image_size is {plain(repr(said), 80)}; expected describe() to "
                "hold [height, width] in pixels"
            )
        return height, width

    @property
    def codecs(self) -> dict[str, Codec]:
        """Codecs in which uploads are accepted, by name."""
        if not self._codecs:
            self._codecs = codecs.table(self.manager.registry, self.config.upload.codec)
        return self._codecs

    def split(self, name: str) -> ImageSet:
        found = self.dataset.split(name)
        if found is None:
            raise DataError(f"dataset {self.info.name} has no {name} split")
        return found

    def weights(self, family: str) -> dict[str, object]:
        """For the inputs of a stage that rests on models of a chosen component; see `fgl.core.model_digests`."""
        return model_digests.inputs_of(self.manager, family, getattr(self.config, family))

    def share_pixels(self, other: Session) -> None:
        """Decode each split once for both: the two sessions are over the same data at the same size, or share none."""
        if self.yields_images != other.yields_images or self.real_inputs != other.real_inputs:
            return
        if not self.yields_images or self.image_size == other.image_size:
            self._pixels, self._features = other._pixels, other._features

    def pixels(self, name: str) -> LabelledPixels:
        """A whole split at the size of synthetic images, to be compared with them; decoded once a run."""
        if name not in self._pixels:
            self._pixels[name] = decode(self.split(name), self.image_size, self.progress, f"decode {name}")
        return self._pixels[name]

    @property
    def preparation(self) -> Preparation:
        """What the classifier, or what turns them into features, wants real images to become."""
        if isinstance(self.generator, SupportsProduct):
            return self.generator.preparation()
        height, width = self.image_size
        if isinstance(self.classifier, SupportsPreparation):
            return self.classifier.preparation((height, width))
        side = min(height, width)
        return Preparation(side, side, side)

    @property
    def real_inputs(self) -> dict[str, object]:
        """What determines the classifier's inputs beside real images, for the recorded inputs of a stage."""
        made: dict[str, object] = {**self.preparation.inputs()}
        if isinstance(self.generator, SupportsProduct):
            made["features"] = dict(self.generator.feature_space())
        return made

    def inputs(self, name: str) -> LabelledSet:
        """A whole split as the classifier takes it: `test` to be tested, the others to train on; decoded once a run."""
        key, train = f"{name} for the classifier", name != "test"
        if isinstance(self.generator, SupportsProduct):
            if key not in self._features:
                self._features[key] = features_for(
                    self.split(name), self.generator, self.device, self.progress, f"features {name}"
                )
            return self._features[key]
        if key not in self._pixels:
            found = decode_for(self.split(name), self.preparation, self.progress, f"decode {name}", train)
            self._pixels[key] = found
        return self._pixels[key]

    def labelled(self, values: Array, labels: Labels) -> LabelledSet:
        """Items of the product as a set. values: [n, *shape]; labels: int64 [n]."""
        return LabelledPixels(values, labels) if self.yields_images else LabelledArrays(values, labels)


def has(info: DatasetInfo, has_public: bool) -> frozenset[str]:
    """What a dataset has of what components and baselines may require."""
    return frozenset([*(["domains"] if info.domains else []), *(["public"] if has_public else [])])


def check_fit(config: RunConfig, manager: PluginManager, info: DatasetInfo, has_public: bool) -> None:
    """Raises ConfigError with every selected component that needs what the dataset does not have."""
    known = has(info, has_public)
    problems = []
    families = ("partition", "prompt_strategy", "aggregator", "generator", "classifier")
    chosen = [(family, family, getattr(config, family).name) for family in families]
    chosen += [("baselines", "prompt_strategy", name) for name in config.baseline_strategies()]
    for key, family, name in chosen:
        needs = manager.registry.find(family, name).component.requires
        problems += [
            Problem(key, repr(name), f"needs {need}, and dataset {info.name!r} has none: choose another")
            for need in needs
            if need not in known
        ]
    out = baselines.lacking(config.baselines, known)
    for name in out if not config.all_baselines else ():
        others = ", ".join(other for other in config.baselines if other not in out)
        split = " and ".join(baselines.find(name).requires)
        problems.append(
            Problem("baselines", repr(name), f"dataset {info.name!r} has no {split} split; use baselines=[{others}]")
        )
    if problems:
        raise ConfigError(problems, "the configuration together with the dataset")


def check_clients(config: RunConfig, clients: Sequence[str]) -> None:
    """Raises ConfigError where more uploads are needed than there are clients."""
    needed = config.upload.min_clients
    if needed > len(clients):
        expected = f"at most {len(clients)}: there are no more clients, and the run could never go on"
        raise ConfigError([Problem("upload.min_clients", str(needed), expected)])


def _numbers(value: Any) -> dict[str, int | float | str | bool]:
    """The scalar entries of a stage's value, for metrics.jsonl."""
    if not isinstance(value, dict):
        return {}
    found = {key: item for key, item in value.items() if isinstance(item, int | float | str | bool)}
    scores = {key: item["top1"] for key, item in value.items() if isinstance(item, dict) and "top1" in item}
    return {**found, **{f"{key}.top1": top1 for key, top1 in scores.items()}}
