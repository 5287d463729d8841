"""YAML, flags and defaults → one resolved configuration, or every problem at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from fgl.core.errors import ConfigError, FGLError, PluginError, Problem
from fgl.core.options import Options
from fgl.core.registry import Registry, suggestion
from fgl.core.types import FAMILIES, Component


class Selected(BaseModel):
    """A component by name, with every option resolved."""

    model_config = ConfigDict(frozen=True)
    name: str
    options: dict[str, Any]


# An id becomes a file name, at the server as at the client.
CLIENT_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ClientId = Annotated[str, StringConstraints(pattern=f"^{CLIENT_ID}$")]


class UploadOptions(Options):
    """How embeddings cross the wire, or the texts of prompts."""

    codec: Literal["fp16", "fp32", "int8", "text"] = Field(
        "fp16",
        description="what clients send: embeddings in 16, 32 (exact) or 8 bits, or the prompts as text, which the "
        "server then reads and encodes",
    )
    max_megabytes: float = Field(
        64.0,
        gt=0,
        description="largest upload that the server looks at, in 10^6 bytes; texts count as the fp32 embeddings that "
        "they become",
    )
    max_rows: int = Field(100_000, ge=1, description="most rows that the server accepts in an upload")
    min_clients: int = Field(1, ge=1, description="uploads that must be accepted for the run to go on")
    run_id: str = Field(
        "", max_length=100, description="name of this run, the same at all clients; uploads for another are refused"
    )
    clients: list[ClientId] | None = Field(
        None,
        min_length=1,
        description="ids of clients that hold data of their own; null: the simulated clients of the partition",
    )

    @field_validator("clients")
    @classmethod
    def _different(cls, clients: list[str] | None) -> list[str] | None:
        if clients is not None and len(set(clients)) < len(clients):
            raise ValueError("expected ids that differ")
        return clients


class SynthesisOptions(Options):
    """What the server makes of the conditionings."""

    images_per_class: int = Field(160, ge=1, description="images to synthesize for each class")
    shard_size: int = Field(500, ge=1, description="images in a shard: the unit of batching, work and commit")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of each class's synthetic images kept aside to select the checkpoint"
    )


class EvaluationOptions(Options):
    """What is measured beside the test accuracy. Nothing, unless asked for: it takes time."""

    quality: bool = Field(
        False, description="measure the synthetic set beside real images in the feature space that `features` selects"
    )
    real: Literal["train", "public", "test"] = Field(
        "train",
        description="the real images that quality compares with: train is what the clients hold, pooled, which only a "
        "simulation has",
    )
    max_images: int = Field(
        10_000, ge=2, description="most images of each kind that quality compares, divided evenly among the classes"
    )
    at_clients: bool = Field(False, description="test the classifier at the clients too; only counts leave them")
    per_class: bool = Field(False, description="at clients: counts for each class too, not only in all")
    min_images: int = Field(
        10, ge=1, description="fewest images of a class for which a client gives a figure of that class"
    )


class RunConfig(BaseModel):
    """Everything that determines a run. The same for YAML, flags and `fgl.run`."""

    model_config = ConfigDict(frozen=True)
    seed: int
    device: str
    dataset: Selected
    partition: Selected
    prompt_strategy: Selected
    upload: UploadOptions
    aggregator: Selected
    generator: Selected
    synthesis: SynthesisOptions
    classifier: Selected
    features: Selected
    evaluation: EvaluationOptions
    algorithm: Selected
    federation: Selected
    executor: Selected
    controls: tuple[str, ...]
    all_controls: bool = False
    """Whether `controls: all` was asked for: then those that the dataset cannot serve are left out, not refused."""

    def control_strategies(self) -> list[str]:
        """Prompt strategies that are run as controls."""
        return [name.removeprefix(PROMPTS_CONTROL) for name in self.controls if name.startswith(PROMPTS_CONTROL)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the form that a YAML file has; `resolve` turns it into an equal RunConfig."""
        result: dict[str, Any] = {"seed": self.seed, "device": self.device}
        for family in _ORDER:
            value = getattr(self, family)
            result[family] = (
                {"name": value.name, **value.options} if isinstance(value, Selected) else value.model_dump(mode="json")
            )
        result["controls"] = "all" if self.all_controls else list(self.controls)
        return result

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "device": "auto",
    "dataset": {"name": "bundled"},
    "partition": {"name": "dirichlet"},
    "prompt_strategy": {"name": "class-name"},
    "upload": {},
    "aggregator": {"name": "union"},
    "generator": {"name": "tiny"},
    "synthesis": {},
    "classifier": {"name": "small"},
    "features": {"name": "trained"},
    "evaluation": {},
    "algorithm": {"name": "fedavg"},
    "federation": {"name": "local"},
    "executor": {"name": "local"},
    "controls": ["class-list"],
}
CONTROLS = ("class-list", "fedavg", "local", "public", "pooled")
PROMPTS_CONTROL = "prompts:"
_DATASETS = ("bundled", "hf", "parquet", "imagefolder")  # have a short form of their own, see `expand`
_ORDER = (
    "dataset", "partition", "prompt_strategy", "upload", "aggregator", "generator", "synthesis", "classifier",
    "features", "evaluation", "algorithm", "federation", "executor",
)  # fmt: skip
_PLAIN: dict[str, type[Options]] = {
    "upload": UploadOptions, "synthesis": SynthesisOptions, "evaluation": EvaluationOptions,
}  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """Raises ConfigError that names the file and, for a syntax error, the line."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "no such file", "expected a YAML file")], "the command line") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            [Problem(str(path), " ".join(str(error).split()), "expected YAML text")], str(path)
        ) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(
            [Problem(str(path), type(loaded).__name__, "expected a mapping of keys to values")], str(path)
        )
    return loaded


def set_option(layer: dict[str, Any], assignment: str) -> None:
    """Put `family.option=value` (value in YAML) into a layer. Raises ConfigError where it has another form."""
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError([Problem("--set", repr(assignment), "expected family.option=value")], "the command line")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:  # a template such as {label}, photo is text, and no YAML
        value = text
    place = layer
    for index, part in enumerate(parts[:-1]):
        inner = place.setdefault(part, {})
        if isinstance(inner, str) and index == 0:
            inner = place[part] = expand(part, inner)
        if not isinstance(inner, dict):
            raise ConfigError([Problem(key, repr(assignment), f"{part} is not a mapping")], "the command line")
        place = inner
    place[parts[-1]] = value


def expand(family: str, value: str) -> dict[str, Any]:
    """A component's short form: its name; for features also a Hub id or a folder; for datasets also `bundled:NAME`,
    `hf:ID`, `parquet:PATH`, `imagefolder:PATH` or a path, whose kind is read off what lies there."""
    if family == "features" and "/" in value:
        return {"name": "image-model", "model": value}
    if family != "dataset":
        return {"name": value}
    if value in _DATASETS:
        return {"name": value}
    name, colon, rest = value.partition(":")
    if colon and name == "bundled":
        return {"name": name, "subset": rest}
    if colon and name in _DATASETS:
        return {"name": name, "path": rest}
    path = Path(value).expanduser()
    if path.is_file():
        return {"name": "parquet", "path": value}
    if path.is_dir():
        if any((path / marker).exists() for marker in ("dataset_info.json", "dataset_dict.json")):
            return {"name": "hf", "path": value}
        return {"name": "parquet" if any(path.glob("*.parquet")) else "imagefolder", "path": value}
    if value.startswith((".", "~", "/")):  # a path that is not there: the dataset says what is there instead
        return {"name": "parquet" if value.endswith(".parquet") else "imagefolder", "path": value}
    return {"name": value}


def resolve(layers: Sequence[Mapping[str, Any]], registry: Registry, source: str = "the configuration") -> RunConfig:
    """Merge layers (later ones win) over the defaults and check everything.

    A layer that selects another component drops the options that earlier layers gave to the old one. Raises ConfigError
    with every problem."""
    problems: list[Problem] = []
    merged = copy.deepcopy(DEFAULTS)
    for layer in layers:
        for key, value in layer.items():
            _merge(merged, str(key), copy.deepcopy(value), problems)
    values: dict[str, Any] = {
        "seed": _integer(merged["seed"], problems),
        "device": _device(merged["device"], problems),
        "all_controls": merged["controls"] == "all",
    }
    for family in _ORDER:
        given = merged[family]
        values[family] = (
            _plain(family, given, problems) if family in _PLAIN else _component(family, given, registry, problems)
        )
    strategy = values["prompt_strategy"].name if values["prompt_strategy"] is not None else ""
    values["controls"] = _controls(merged["controls"], strategy, registry, problems)
    if problems:
        raise ConfigError(problems, source)
    return RunConfig(**values)


def _merge(merged: dict[str, Any], key: str, value: Any, problems: list[Problem]) -> None:
    if key not in DEFAULTS:
        problems.append(Problem(key, "", f"unknown key{suggestion(key, DEFAULTS)} (known: {', '.join(DEFAULTS)})"))
    elif key in FAMILIES:
        if isinstance(value, str):
            value = expand(key, value)
        if not isinstance(value, dict):
            problems.append(Problem(key, repr(value), "expected a name, or a mapping with a name and options"))
            return
        old = merged[key]
        name = value.get("name", old["name"])
        merged[key] = {**(old if name == old["name"] else {}), **value, "name": name}
    elif key in _PLAIN:
        if not isinstance(value, dict):
            problems.append(Problem(key, repr(value), f"expected a mapping ({', '.join(_PLAIN[key].model_fields)})"))
            return
        merged[key] = {**merged[key], **value}
    else:
        merged[key] = value


def _component(family: str, given: dict[str, Any], registry: Registry, problems: list[Problem]) -> Selected | None:
    name, options = given["name"], {key: value for key, value in given.items() if key != "name"}
    if not isinstance(name, str):
        problems.append(Problem(f"{family}.name", repr(name), "expected a name"))
        return None
    try:
        entry = registry.find(family, name)
        cls = registry.options_class(entry)
    except PluginError as error:
        hint = "; a path must exist, bundled data is bundled:NAME, the Hub's is hf:OWNER/NAME"
        hint = hint if family == "dataset" else ""
        problems.append(Problem(family, repr(name), f"{error}{hint}"))
        return None
    checked = _validate(family, cls, {**_defaults(entry.component, options), **options}, problems)
    return None if checked is None else Selected(name=name, options=checked.model_dump(mode="json"))


def _defaults(component: Component, given: Mapping[str, Any]) -> dict[str, Any]:
    """The component's, less those that hold for another default that `given` replaces."""
    defaults = dict(component.defaults)
    for name, others in component.bound.items():
        if name in given and given[name] != component.defaults.get(name):
            for other in others:
                defaults.pop(other, None)
    return defaults


def _plain(family: str, given: dict[str, Any], problems: list[Problem]) -> Options | None:
    return _validate(family, _PLAIN[family], given, problems)


def _validate(family: str, cls: type[Options], given: dict[str, Any], problems: list[Problem]) -> Options | None:
    try:
        return cls(**{str(key): value for key, value in given.items()})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = ".".join([family, *(str(part) for part in detail["loc"])])
            if detail["type"] == "extra_forbidden":
                option = str(detail["loc"][-1])
                expected = (
                    f"unknown option{suggestion(option, cls.model_fields)} (known: {', '.join(cls.model_fields)})"
                )
                problems.append(Problem(key, repr(detail["input"]), expected))
            elif detail["type"] == "missing":
                problems.append(Problem(key, "nothing", "this option is required"))
            else:
                message = detail["msg"].removeprefix("Value error, ")
                problems.append(Problem(key, _short(detail["input"]), message[:1].lower() + message[1:]))
    except FGLError as error:
        problems.append(Problem(family, "", str(error)))
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _integer(value: Any, problems: list[Problem]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        problems.append(Problem("seed", repr(value), "expected a whole number from 0 to 2^63 - 1"))
        return 0
    return value


def _device(value: Any, problems: list[Problem]) -> str:
    kind = str(value).partition(":")
    if (
        not isinstance(value, str)
        or kind[0] not in ("auto", "cpu", "cuda", "mps")
        or (kind[1] and not kind[2].isdigit())
    ):
        problems.append(Problem("device", repr(value), "expected auto, cpu, mps, cuda or cuda:N"))
        return "auto"
    return value


def _controls(value: Any, strategy: str, registry: Registry, problems: list[Problem]) -> tuple[str, ...]:
    """strategy: the run's own prompt strategy. "all" has the other one of class-name and attributes beside it."""
    if value == "none":
        return ()
    if value == "all":
        others = [name for name in ("class-name", "attributes") if name != strategy]
        return (*(PROMPTS_CONTROL + name for name in others), *CONTROLS)
    if isinstance(value, str):
        value = [value]
    known = [*CONTROLS, *(PROMPTS_CONTROL + name for name in registry.names("prompt_strategy"))]
    if not isinstance(value, list | tuple):
        problems.append(Problem("controls", repr(value), f"expected all, none, or a list of {', '.join(known)}"))
        return ()
    for item in value:
        if item not in known:
            hint = suggestion(str(item), known)
            problems.append(Problem("controls", repr(item), f"unknown control{hint} (known: {', '.join(known)})"))
        elif item.startswith(PROMPTS_CONTROL):
            _component("prompt_strategy", {"name": item.removeprefix(PROMPTS_CONTROL)}, registry, problems)
    return tuple(dict.fromkeys(item for item in value if isinstance(item, str)))
