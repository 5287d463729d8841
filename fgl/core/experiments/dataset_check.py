"""What a dataset holds, counted and held against a preset; and what each client of a partition would hold of it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fgl.contracts.dataset import DatasetInfo, ImageSet, Subset, SupportsKinds
from fgl.contracts.progress import Progress
from fgl.contracts.prompts import SupportsCheck
from fgl.core import partitioning
from fgl.core.config.presets import Preset
from fgl.core.config.schema import RunConfig, Selected
from fgl.core.experiments.cautions import SplitCounts, Twins, cautions, suggest_domains
from fgl.core.store.typed import JsonObject, to_json
from fgl.errors import DataError, FGLError
from fgl.text import some

if TYPE_CHECKING:
    from fgl.core.plugin_manager import PluginManager


SPLITS = ("train", "test", "public")


def survey(
    config: RunConfig, manager: PluginManager, preset: Preset | None, progress: Progress, divided: bool = True
) -> JsonObject:
    """Everything that `fgl datasets check` reports, as JSON. divided: whether the user has chosen the partition.

    Unreadable images are counted instead of raised. Raises DataError where the data cannot be opened at all,
    ClassListError where its classes are not those that were asked for."""
    options = manager.options("dataset", config.dataset)
    selected = config.dataset
    if "skip_bad_images" in type(options).model_fields:
        selected = Selected(name=selected.name, options={**selected.options, "skip_bad_images": True})
    dataset = manager.create("dataset", selected)
    with progress.track("read the dataset", 1, "dataset") as task:
        info: DatasetInfo = dataset.info()
        task.advance()
    splits = {name: images for name in SPLITS if (images := dataset.split(name)) is not None}
    kinds: Counter[tuple[str, str, int, int]] = Counter()
    twins = Twins()
    with progress.track("look at the images", sum(len(images) for images in splits.values())) as task:
        for split, images in splits.items():
            labels = images.labels.tolist()
            for index in range(len(images)):
                kinds[_kind(images, index)] += 1
                twins.add(images.image(index), split, labels[index], index)
                task.advance()
    counts = {name: _counts(images, info) for name, images in splits.items()}
    findings = {
        "dataset": {"name": info.name, "kind": config.dataset.name, "source": info.source, "digest": info.digest},
        "license": info.license,
        "class_names": list(info.class_names),
        "domains": list(info.domains),
        "splits": to_json(counts),
        "kinds": _summed(kinds, lambda kind: " ".join(part for part in kind[:2] if part)),
        "sizes": _summed(kinds, lambda kind: f"{kind[2]}x{kind[3]}"),
        "unreadable": list(info.skipped),
        "preset": None if preset is None else {"name": preset.name, "license": preset.license},
    }
    problems = _problems(info, counts, preset, getattr(options, "holds", "all")) + _prompts(config, manager, info)
    warnings = cautions(info, splits, counts, twins)
    if not divided and (suggestion := suggest_domains(info)):
        warnings.append(suggestion)
    return {**findings, "warnings": warnings, "problems": problems, "fits": not problems}


def divide(config: RunConfig, manager: PluginManager, progress: Progress) -> JsonObject:
    """Samples of each class, and of each domain, that each client gets. JSON. Raises DataError."""
    dataset = manager.create("dataset", config.dataset)
    with progress.track("read the dataset", 1, "dataset") as task:
        info: DatasetInfo = dataset.info()
        train = dataset.split("train")
        task.advance()
    if train is None:
        raise DataError(f"dataset {info.name} has no train split: there is nothing to divide")
    divided = partitioning.divide(manager, config, train)
    held = {client: Subset(train, rows) for client, rows in divided.items()}
    return {
        "dataset": info.name,
        "partition": {"name": config.partition.name, **config.partition.options},
        "seed": config.seed,
        "class_names": list(info.class_names),
        "samples": {client: list(_by_class(part, info).values()) for client, part in held.items()},
        "domains": {client: dict(Counter(part.domains or ())) for client, part in held.items() if info.domains},
    }


def _prompts(config: RunConfig, manager: PluginManager, info: DatasetInfo) -> list[str]:
    """The prompt strategy's objections to the classes, which a run would raise before it begins."""
    strategy = manager.create("prompt_strategy", config.prompt_strategy)
    try:
        if isinstance(strategy, SupportsCheck):
            strategy.check(info)
    except DataError as error:
        return [str(error)]
    except FGLError:  # of a model, not of the data
        return []
    return []


def _counts(images: ImageSet, info: DatasetInfo) -> SplitCounts:
    by_domain = None
    if images.domains is not None:
        by_domain = {
            domain: _by_class(Subset(images, [i for i, other in enumerate(images.domains) if other == domain]), info)
            for domain in info.domains
        }
    return SplitCounts(images=len(images), by_class=_by_class(images, info), by_domain=by_domain)


def _by_class(images: ImageSet, info: DatasetInfo) -> dict[str, int]:
    counts = Counter(images.labels.tolist())
    return {name: counts[number] for number, name in enumerate(info.class_names)}


def _kind(images: ImageSet, index: int) -> tuple[str, str, int, int]:
    """(format, mode, width, height) as stored, where the dataset can tell; else of the decoded image."""
    while isinstance(images, Subset):
        index = images.indices[index]
        images = images.base
    if isinstance(images, SupportsKinds):
        return images.kind(index)
    image = images.image(index)
    return "", image.mode, image.width, image.height


def _summed(
    kinds: Counter[tuple[str, str, int, int]], name: Callable[[tuple[str, str, int, int]], str]
) -> dict[str, int]:
    """Most frequent first."""
    total: Counter[str] = Counter()
    for kind, count in kinds.items():
        total[name(kind)] += count
    return dict(total.most_common())


def _problems(info: DatasetInfo, counts: Mapping[str, SplitCounts], preset: Preset | None, holds: str) -> list[str]:
    """What makes the data unfit for a run, or other than the preset's; each with what to do. holds: whether these are
    all images, or a client's or a server's own, which need not have the other split, nor each class."""
    problems = []
    if info.skipped:
        named = ", ".join(info.skipped[:3]) + (", ..." if len(info.skipped) > 3 else "")
        problems.append(
            f"{len(info.skipped)} unreadable image{'s' * (len(info.skipped) > 1)}: {named}; replace them, or run with "
            "--skip-bad-images"
        )
    for split in ("train", "test") if holds == "all" else ():
        if split not in counts:
            problems.append(f"there is no {split} split")
            continue
        empty = [name for name, count in counts[split].by_class.items() if not count]
        if empty:
            problems.append(f"the {split} split has no images of {some(empty, 10, total=True)}")
    if preset is None:
        return problems
    problems += _differences("class", info.class_names, list(preset.classes))
    if preset.domains or info.domains:
        problems += _differences("domain", info.domains, preset.domains)
    images = {split: counts[split].images for split in counts}
    if preset.images and not any(wanted.items() <= images.items() for wanted in preset.images):
        wanted = " or ".join(_splits(one) for one in preset.images)
        held = _splits({split: images.get(split, 0) for split in ("train", "test")})
        problems.append(
            f"{held} images, expected {wanted}: an incomplete or another copy, or without its own test split"
        )
    return problems


def _differences(what: str, got: Sequence[str], expected: Sequence[str]) -> list[str]:
    many = f"{what}es" if what == "class" else f"{what}s"
    missing = [name for name in expected if name not in got]
    surplus = [name for name in got if name not in expected]
    problems = []
    if missing:
        near = []
        for name in missing:
            close = difflib.get_close_matches(name, surplus, n=1)
            near.append(f"'{name}'{f' - is it {close[0]!r}?' if close else ''}")
        problems.append(f"{many} missing: {some(near, 10, total=True)}")
    if surplus:
        problems.append(
            f"{many} that the preset does not have: {some([repr(name) for name in surplus], 10, total=True)}"
        )
    if not missing and not surplus and list(got) != list(expected) and what == "class":
        problems.append("the classes are in another order than the preset's")
    return problems


def _splits(images: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in images.items())
