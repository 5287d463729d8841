"""The experiments that ship with fgl: YAML files in fgl/presets, each a layer of configuration and what its data is.

A preset is applied under the user's own YAML and flags, so `layers` must know what those select: a preset's class list
goes with whatever dataset is chosen, its address only with its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fgl.contracts.component import FAMILIES
from fgl.core.config import short_forms
from fgl.core.config.defaults import DEFAULTS
from fgl.core.config.schema import RunConfig, Selected
from fgl.core.registry import Registry
from fgl.errors import BrokenPluginError, ConfigError, DataError, PluginError, Problem, suggestion

FOLDER = Path(__file__).parents[2] / "presets"
# What belongs to the preset's own data, wherever a copy of it lies. The rest of its options is the address.
_OF_THE_DATA = ("image_column", "label_column", "domain_column", "train_split", "test_split")
_CLASSES = ("class_names", "labels", "unlisted_labels", "prompt_names")

SMOKE_IMAGES = 80
"""Synthetic images of a smoke run, for all classes together, as long as each has four."""


class Preset(BaseModel):
    """One experiment. See fgl/presets for the files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = Field(description="what the data set is called")
    license: str = Field(description="of the data, as its source states it")
    source: str = Field(description="where the data comes from, in a few words")
    get: str = Field(description="where to get the data by hand")
    layout: str = Field(description="what PATH in `--dataset PATH` must look like")
    stand_in: str = Field(description="bundled dataset of the same layout, for smoke runs")
    of_the_hub: bool = Field(False, description="the data is downloaded when it is opened first")
    smoke: dict[str, int] = Field({}, description="of the sizes that make its data small for a smoke run, others")
    images: list[dict[str, int]] = Field(default=[], description="images of each split; several where copies differ")
    dataset: dict[str, object] = Field(description="the data as fgl opens it; of a folder, where it is looked for")
    domains: list[str] = []
    classes: dict[str, list[str]] = Field(description="class name → what else the data calls it, in label order")
    run: dict[str, object] = Field(description="configuration, all but the dataset")

    @field_validator("classes", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {name: [] for name in value}
        if isinstance(value, dict):
            return {name: [others] if isinstance(others, str) else others or [] for name, others in value.items()}
        return value

    @property
    def labels(self) -> dict[str, str]:
        """Label in the data → class name, in label order. A class name is always its own label too."""
        return {label: name for name, others in self.classes.items() for label in others or [name]}


@dataclass(frozen=True, slots=True)
class Data:
    """What a configuration that a preset made runs on. own: the preset's own address. stand_in: something else, in the
    place of the preset's data."""

    own: bool
    stand_in: bool


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load(name: str, option: str = "--preset") -> Preset:
    """Raises ConfigError where there is no such preset. option: what asked for it."""
    known = names()
    if name not in known:
        problem = Problem(option, repr(name), f"unknown preset{suggestion(name, known)} (known: {', '.join(known)})")
        raise ConfigError([problem], "the command line")
    file = FOLDER / f"{name}.yaml"
    try:
        return Preset(name=name, **yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise BrokenPluginError(f"the preset {file} is damaged: {error}; reinstall fgl") from error


def layers(
    preset: Preset, smoke: bool, given: Sequence[Mapping[str, object]], registry: Registry
) -> list[dict[str, object]]:
    """What goes under the layers that the user gave: the preset, and for a smoke run what makes it small."""
    given = [_expanded(layer, registry) for layer in given]
    name, elsewhere = _chosen(preset, given)
    options = _options(registry, name)
    own_options = {key: value for key, value in preset.dataset.items() if key != "unlisted_labels"}
    dataset: dict[str, object] = {"name": name}
    if name == own_options["name"]:
        dataset |= {key: value for key, value in own_options.items() if key in _OF_THE_DATA or not elsewhere}
    if "labels" in options and not _states_classes(name, given):
        dataset["labels"] = preset.labels
        if "unlisted_labels" in preset.dataset:
            dataset["unlisted_labels"] = preset.dataset["unlisted_labels"]
    made: list[dict[str, object]] = [{**preset.run, "dataset": dataset}]
    if not smoke:
        return made
    if not elsewhere and not is_here(dataset, registry):
        made[0]["dataset"] = short_forms.expanded(
            "dataset", f"{DEFAULTS['dataset']['name']}:{preset.stand_in}", registry
        )
    made[0]["generator"] = DEFAULTS["generator"]
    return [*made, _small(preset, [*made, *given], registry)]


def _small(preset: Preset, layers: Sequence[Mapping[str, object]], registry: Registry) -> dict[str, object]:
    """What makes the components that these layers select small: sizes that each of them has for that."""
    count = max(4, SMOKE_IMAGES // len(preset.classes))
    small: dict[str, object] = {"synthesis": {"images_per_class": count}}
    for family in FAMILIES.keys() & DEFAULTS.keys():
        name = _selected(family, layers)
        component = short_forms.component_of(family, name, registry)
        if component is not None and component.smoke:
            sizes = dict(component.smoke)
            if family == "dataset":
                sizes |= {key: value for key, value in preset.smoke.items() if key in sizes}
            small[family] = {"name": name, **sizes}
    return small


def _selected(family: str, layers: Sequence[Mapping[str, object]]) -> str:
    """Name of the component that the last of these layers selects."""
    sections = [section for layer in layers if isinstance(section := layer.get(family), Mapping)]
    named = [section["name"] for section in sections if "name" in section]
    return str(named[-1] if named else DEFAULTS[family]["name"])


def _expanded(layer: Mapping[str, object], registry: Registry) -> dict[str, object]:
    """A layer whose components have no short forms."""
    return {
        key: short_forms.expanded(key, value, registry) if key in FAMILIES else value for key, value in layer.items()
    }


def _chosen(preset: Preset, given: Sequence[Mapping[str, object]]) -> tuple[str, bool]:
    """(name of the dataset that these layers select over the preset's, whether they say where it lies)."""
    name, elsewhere = str(preset.dataset["name"]), False
    for layer in given:
        value = layer.get("dataset")
        if isinstance(value, Mapping):
            other = value.get("name", name)
            elsewhere = "path" in value or (elsewhere and other == name) or other != preset.dataset["name"]
            name = str(other)
    return name, elsewhere


def _states_classes(name: str, given: Sequence[Mapping[str, object]]) -> bool:
    """Whether the user's own layers say what the classes are."""
    sections = [section for layer in given if isinstance(section := layer.get("dataset"), Mapping)]
    return any(each.get("name", name) == name and {"labels", "class_names"} & set(each) for each in sections)


def _options(registry: Registry, name: str) -> set[str]:
    """Options of a dataset; none where it does not exist, which is reported when the configuration is checked."""
    try:
        return set(registry.options_class(registry.find("dataset", name)).model_fields)
    except PluginError:
        return set()


def without_labels(config: RunConfig) -> RunConfig:
    """The same on data whose classes are whatever they are called there."""
    none = dict.fromkeys(("class_names", "labels", "prompt_names"))
    options = {**config.dataset.options, **none, "unlisted_labels": "refuse"}
    return config.model_copy(update={"dataset": Selected(name=config.dataset.name, options=options)})


def data_of(preset: Preset, config: RunConfig) -> Data:
    """Whether a configuration is on the preset's own data, on a copy of it, or on something else."""
    options = config.dataset.options
    is_own = config.dataset.name == preset.dataset["name"] and options.get("path") == preset.dataset["path"]
    return Data(is_own, not is_own and options.get("labels") != preset.labels)


def is_here(dataset: Mapping[str, object], registry: Registry) -> bool:
    """Whether a dataset can be opened without a network, as far as that shows without opening it."""
    address = {key: value for key, value in dataset.items() if key not in ("name", *_CLASSES)}
    try:
        return registry.options_class(registry.find("dataset", str(dataset["name"]))).of(address).is_here()
    except (PluginError, ValidationError):  # reported when the configuration is checked
        return False


def absent(preset: Preset, command: str, reason: str = "") -> DataError:
    """That a preset's data is not here: where to get it, what it must look like, what to run next.

    command: such as "fgl run". reason: why it could not be opened."""
    path = preset.dataset["path"]
    looked = reason or f"there is no {path} in {Path.cwd()}"
    lines = [
        f"the data of the preset {preset.name} ({preset.title}) is not here: {looked}",
        f"  get it:    {preset.get}",
        f"  layout:    {preset.layout}",
        f"  then run:  {command} --preset {preset.name} --dataset PATH",
    ]
    if not preset.of_the_hub:
        lines[-1] += f"   (without --dataset, {path} is looked for)"
    lines.append(f"  or try it: fgl run --preset {preset.name} --smoke   (small, on stand-in data)")
    return DataError("\n".join(lines))
