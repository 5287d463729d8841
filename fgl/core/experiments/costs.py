"""What a comparison will cost, counted before it starts: images to paint, models to train, images that train them.

Counts follow from the configuration alone. Time follows from counts and from the pace of runs that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.core.baselines import BASELINES, compared
from fgl.core.config.defaults import CLASS_LIST_PROMPTS
from fgl.core.experiments.methods import FGL, SERVER_EPOCHS, Method
from fgl.core.partitioning import divide
from fgl.core.report.tables import Table
from fgl.core.store.run_dir import RunDir

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager


@dataclass(frozen=True, slots=True)
class Cost:
    """painted: synthetic images. models: trainings, each client's in each round one. passes: images that go through a
    classifier in training, each as often as it does."""

    painted: int = 0
    models: int = 0
    passes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.painted + other.painted, self.models + other.models, self.passes + other.passes)

    def times(self, count: int) -> Cost:
        return Cost(self.painted * count, self.models * count, self.passes * count)


@dataclass(frozen=True, slots=True)
class Data:
    """How many: images of the clients, classes, clients."""

    images: int
    classes: int
    clients: int


def data_of(config: RunConfig, manager: PluginManager) -> Data:
    """Opens the dataset and divides it; decodes nothing."""
    dataset = manager.create("dataset", config.dataset)
    train = dataset.split("train")
    divided = divide(manager, config, train)
    held = [rows for rows in divided.values() if len(rows)]
    return Data(sum(map(len, held)), len(dataset.info().class_names), len(held))


def of_seed(config: RunConfig, methods: Sequence[Method], data: Data) -> dict[str, Cost]:
    """Method → its cost for one seed; what several share is with the first of them."""
    found: dict[str, Cost] = {}
    shot_counted = False
    for method in methods:
        cost = _own(config, method, data)
        baseline = BASELINES.get(method.name)
        own = method.config is None and method.name.split("-")[0] == FGL
        takes_shot = own or (baseline is not None and baseline.after_one_shot)
        if takes_shot and not shot_counted:
            cost, shot_counted = cost + _one_shot(config, data), True
        found[method.name] = cost
    return found


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


def _one_shot(config: RunConfig, data: Data) -> Cost:
    painted = config.synthesis.images_per_class * data.classes
    trained = round(painted * (1 - config.synthesis.validation_fraction))
    return Cost(painted, 1, trained * _epochs(config))


def _own(config: RunConfig, method: Method, data: Data) -> Cost:
    if method.config is not None:
        return _one_shot(method.config, data) + _rounds(method.config, method.config.rounds.count, data)
    if method.name == FGL:
        return Cost()
    if method.name in compared():
        cost: Cost = BASELINES[method.name].call("cost", config, data)
        return cost
    tuned = (config.rounds.server_epochs or SERVER_EPOCHS) if method.tuned else 0
    cost = _rounds(config, method.rounds, data, tuned)
    is_tried = method.name.startswith(f"{FGL}-") and method.rounds and config.rounds.start == "auto"
    # Two other starts are trained for a round where the one-shot model is any good: mostly they are given up then.
    return cost + _rounds(config, 2, data, 0) if is_tried else cost


def _rounds(config: RunConfig, count: int, data: Data, server_epochs: int | None = None) -> Cost:
    """server_epochs: None for those of the configuration."""
    options = config.rounds
    asked = max(1, round(options.fraction * data.clients))
    images = data.images * asked / data.clients
    cost = Cost(0, count * asked, round(count * options.local_epochs * images))
    epochs = options.server_epochs if server_epochs is None else server_epochs
    if count and epochs:
        painted = config.synthesis.images_per_class * data.classes
        cost += Cost(0, count, painted * epochs * count)
    return cost


def class_list(config: RunConfig, data: Data) -> Cost:
    """With class-name prompts its images are the run's own."""
    return Cost() if config.prompt_strategy.name == CLASS_LIST_PROMPTS else _one_shot(config, data)


def centralized(config: RunConfig, data: Data) -> Cost:
    return Cost(0, 1, data.images * _epochs(config))


def local(config: RunConfig, data: Data) -> Cost:
    return Cost(0, data.clients, data.images * _epochs(config))


def _epochs(config: RunConfig) -> int:
    """Of the classifier; 1 for one that states none."""
    epochs = config.classifier.options.get("epochs")
    return epochs if isinstance(epochs, int) else 1


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds an image, painted and passing through the classifier in training; None where no run says."""

    painted: float | None = None
    passed: float | None = None

    def seconds(self, cost: Cost) -> float | None:
        """None where the pace of something that is needed is not known."""
        parts = ((cost.painted, self.painted), (cost.passes, self.passed))
        if any(count and each is None for count, each in parts):
            return None
        return sum(count * (each or 0.0) for count, each in parts)


def pace(folder: Path) -> Pace:
    """Of the runs below a folder of comparisons, by their records."""
    painted, passed = [], []
    for seed in sorted([*folder.glob("seed-*"), *folder.glob("*/seed-*")]):
        run = RunDir(seed)
        made, trained = run.recorded("synthesize"), run.recorded("train")
        if made is not None and made["seconds"] > 0:
            painted.append(made["seconds"] / max(1, _count(made["value"], "images")))
        if trained is not None and trained["seconds"] > 0:
            value = trained["value"]
            passed.append(trained["seconds"] / max(1, _count(value, "images") * len(value.get("history", ()))))
    return Pace(_mean(painted), _mean(passed))


def _count(value: Any, key: str) -> int:
    found = value.get(key, 0) if isinstance(value, dict) else 0
    return int(found)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def duration(seconds: float) -> str:
    """Roughly: nobody plans by the second."""
    if seconds < 90:
        return f"{max(1, round(seconds)):,} s"
    if seconds < 5400:
        return f"{round(seconds / 60):,} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def lines(costs: Sequence[tuple[str, Cost]], seeds: int, settings: int, data: Data, known: Pace) -> list[str]:
    """The estimate in words. costs: (title, cost of one seed) of each method; settings: of a sweep, 1 of a comparison,
    whose costs are then those of all settings together."""
    over = f"{settings} settings × " if settings > 1 else ""
    methods = f"{len(costs)} method{'s' * (len(costs) != 1)}"
    said = [
        f"{over}{seeds} seed{'s' * (seeds != 1)} × {methods}; {data.images:,} images at {data.clients} clients, "
        f"{data.classes} classes. For each seed:"
    ]
    said += Table(("", ""), [(title, _said(cost)) for title, cost in costs], "ll").lines(indent=2)
    whole = total(cost for _, cost in costs).times(seeds)
    said.append(f"in all: {_said(whole)}")
    seconds = known.seconds(whole)
    if seconds is None:
        said.append("time: not known before a first model of this kind is trained; it is said then")
    else:
        said.append(f"time: about {duration(seconds)} at the pace of the runs that are there; what is done is reused")
    return said


def _said(cost: Cost) -> str:
    parts = []
    if cost.painted:
        parts.append(f"{cost.painted:,} synthetic images")
    if cost.models:
        parts.append(f"{cost.models:,} training{'s' * (cost.models != 1)}")
    if cost.passes:
        parts.append(f"{cost.passes:,} images through the classifier")
    return ", ".join(parts) or "nothing beside what the others make"
