"""YAML, flags and defaults → one resolved configuration, or every problem at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

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

    images_per_class: int = Field(160, ge=1, le=10_000_000, description="images to synthesize for each class")
    shard_size: int = Field(500, ge=1, description="images in a shard: the unit of batching, work and commit")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of each class's synthetic images kept aside to select the checkpoint"
    )


class RoundsOptions(Options):
    """Federated training: after the one-shot model, and in baselines, which have a number of rounds of their own."""

    count: int = Field(
        0, ge=0, le=100_000, description="rounds of local training and averaging after the one-shot model; 0: none"
    )
    local_epochs: int = Field(5, ge=1, description="passes of a client over its own data in a round")
    server_epochs: int = Field(
        0, ge=0, description="passes of the server over the synthetic set after each averaging; 0: no fine-tuning"
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the clients that are asked in a round, at least one of them"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="probability that a client which is asked does not answer, in each round anew"
    )
    drop: dict[int, list[ClientId]] = Field(
        default_factory=dict, description="clients that do not answer in given rounds: {3: [client-00, client-04]}"
    )
    evaluate_every: int = Field(
        1, ge=1, description="rounds from one test of the global model to the next; the last one is always tested"
    )
    local: dict[str, Any] = Field(
        default_factory=dict, description="options of the classifier that are others in local training, such as lr"
    )
    server: dict[str, Any] = Field(
        default_factory=dict, description="options of the classifier that are others in the server's fine-tuning"
    )

    @field_validator("drop", mode="before")
    @classmethod
    def _numbers(cls, drop: Any) -> Any:
        """JSON has no keys but texts."""
        if not isinstance(drop, dict):
            return drop
        found = {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in drop.items()}
        if any(isinstance(key, int) and key < 1 for key in found):
            raise ValueError("expected rounds from 1")
        return found


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


class AuditOptions(Options):
    """What `fgl audit` measures; `fgl run` does none of it."""

    parts: list[Literal["membership", "memorisation", "uploads"]] | None = Field(
        None, min_length=1, description="which parts; null: all that the run allows"
    )
    methods: list[str] = Field(
        ["fgl", "fedavg", "centralized"],
        min_length=1,
        description="whose classifiers are attacked: fgl, centralized, or a federated algorithm",
    )
    shadows: int = Field(
        16, ge=4, le=1024, multiple_of=2, description="shadow models of each method, in pairs of complementary halves"
    )
    rounds: int = Field(20, ge=1, le=100_000, description="rounds of the federated algorithms that are attacked")
    flip: bool = Field(True, description="query models with each image and its mirror image, not with the image alone")
    closest: int = Field(16, ge=1, le=500, description="pairs of synthetic and nearest real image that are shown")
    dictionary: str | None = Field(
        None,
        description="file with a prompt a line to look embeddings up in, instead of texts that strategies can write",
    )
    candidates: int = Field(
        20_000,
        ge=1,
        description="most texts of a prompt strategy that are tried one and all; where it can write more, they are "
        "searched phrase by phrase",
    )

    @field_validator("methods", "parts")
    @classmethod
    def _once(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("expected each name once")
        return names


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
    rounds: RoundsOptions
    features: Selected
    evaluation: EvaluationOptions
    audit: AuditOptions
    algorithm: Selected
    federation: Selected
    executor: Selected
    baselines: dict[str, Selected]
    """Options of the algorithms that `fgl compare` and the controls run, those that are not the defaults."""
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
        result["baselines"] = {name: dict(one.options) for name, one in self.baselines.items()}
        result["controls"] = "all" if self.all_controls else list(self.controls)
        return result

    def local_classifier(self) -> Selected:
        """The classifier as clients train it in a round."""
        return Selected(name=self.classifier.name, options={**self.classifier.options, **self.rounds.local})

    def server_classifier(self) -> Selected:
        """The classifier as the server fine-tunes it between two rounds."""
        return Selected(name=self.classifier.name, options={**self.classifier.options, **self.rounds.server})

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
    "rounds": {},
    "features": {"name": "trained"},
    "evaluation": {},
    "audit": {},
    "algorithm": {"name": "fedavg"},
    "federation": {"name": "local"},
    "executor": {"name": "local"},
    "baselines": {},
    "controls": ["class-list"],
}
CONTROLS = ("class-list", "fedavg", "local", "public", "pooled")
PROMPTS_CONTROL = "prompts:"
_DATASETS = ("bundled", "hf", "npz", "parquet", "imagefolder")  # have a short form of their own, see `expand`
_ORDER = (
    "dataset", "partition", "prompt_strategy", "upload", "aggregator", "generator", "synthesis", "classifier",
    "rounds", "features", "evaluation", "audit", "algorithm", "federation", "executor",
)  # fmt: skip
_PLAIN: dict[str, type[Options]] = {
    "upload": UploadOptions, "synthesis": SynthesisOptions, "rounds": RoundsOptions, "evaluation": EvaluationOptions,
    "audit": AuditOptions,
}  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """Raises ConfigError that names the file and, for a syntax error, the line."""
    try:
        loaded = _load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "no such file", "expected a YAML file")], "the command line") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = f"{_yaml_reason(error)}; expected YAML text"
        raise ConfigError([Problem(str(path), "", reason)], str(path)) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError([Problem(str(path), shown(loaded), "expected a mapping of keys to values")], str(path))
    return loaded


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error, and a date is text: no option takes any, some take names."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            said = (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key))
            if said in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(said)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load_yaml(text: str) -> Any:
    """Raises YAMLError, ValueError (a number that is none) or RecursionError."""
    return yaml.load(text, _Loader)


def _yaml_reason(error: BaseException) -> str:
    """Without what libraries and Python add for programmers."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    if isinstance(error, UnicodeDecodeError):
        return f"the byte {error.object[error.start]:#04x} at {error.start}, which is not UTF-8"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "brackets in brackets beyond measure" if isinstance(error, RecursionError) else " ".join(str(error).split())


def set_option(layer: dict[str, Any], assignment: str) -> None:
    """Put `family.option=value` (value in YAML) into a layer. Raises ConfigError where it has another form."""
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError([Problem("--set", repr(assignment), "expected family.option=value")], "the command line")
    try:
        value = _load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # a template such as {label}, photo is text, and no YAML
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
    `hf:ID`, `parquet:PATH`, `npz:PATH`, `imagefolder:PATH` or a path, whose kind is read off what lies there."""
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
    file = "npz" if path.suffix == ".npz" else "parquet"
    if path.is_file():
        return {"name": file, "path": value}
    if path.is_dir():
        if any((path / marker).exists() for marker in ("dataset_info.json", "dataset_dict.json")):
            return {"name": "hf", "path": value}
        return {"name": "parquet" if any(path.glob("*.parquet")) else "imagefolder", "path": value}
    if value.startswith((".", "~", "/")):  # a path that is not there: the dataset says what is there instead
        return {"name": file if path.suffix in (".npz", ".parquet") else "imagefolder", "path": value}
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
    _overrides(values["rounds"], values["classifier"], registry, problems)
    values["baselines"] = _baselines(merged["baselines"], registry, problems)
    strategy = values["prompt_strategy"].name if values["prompt_strategy"] is not None else ""
    values["controls"] = _controls(merged["controls"], strategy, registry, problems)
    if problems:
        raise ConfigError(problems, source)
    return RunConfig(**values)


def _merge(merged: dict[str, Any], key: str, value: Any, problems: list[Problem]) -> None:
    if key not in DEFAULTS:
        problems.append(
            Problem(key, shown(value), f"unknown key{suggestion(key, DEFAULTS)} (known: {', '.join(DEFAULTS)})")
        )
    elif key in FAMILIES:
        if isinstance(value, str):
            value = expand(key, value)
        if not isinstance(value, dict):
            problems.append(Problem(key, shown(value), "expected a name, or a mapping with a name and options"))
            return
        old = merged[key]
        name = value.get("name", old["name"])
        merged[key] = {**(old if name == old["name"] else {}), **value, "name": name}
    elif key in _PLAIN:
        if not isinstance(value, dict):
            problems.append(Problem(key, shown(value), f"expected a mapping ({', '.join(_PLAIN[key].model_fields)})"))
            return
        merged[key] = {**merged[key], **value}
    elif key == "baselines" and isinstance(value, dict):
        both = {
            name: {**merged[key].get(name, {}), **given} for name, given in value.items() if isinstance(given, dict)
        }
        merged[key] = {**merged[key], **value, **both}
    else:
        merged[key] = value


def _component(family: str, given: dict[str, Any], registry: Registry, problems: list[Problem]) -> Selected | None:
    name, options = given["name"], {key: value for key, value in given.items() if key != "name"}
    if not isinstance(name, str):
        known = ", ".join(registry.names(family))
        problems.append(Problem(f"{family}.name", shown(name), f"expected a name (installed: {known})"))
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
    given = {str(key): value for key, value in given.items()}
    broken = [Problem(key, shown(text), "expected text without NUL characters") for key, text in _nuls(family, given)]
    if broken:  # no file and no text encoder takes any, and what libraries say of them is a traceback
        problems += broken
        return None
    try:
        return cls(**given)
    except ValidationError as error:
        found: dict[str, tuple[Any, list[str]]] = {}
        for detail in error.errors(include_url=False):
            key, value, expected = _judged(family, cls, given, detail)
            found.setdefault(key, (value, []))[1].append(expected)
        for key, (value, said) in found.items():
            # what each of several kinds would have to be is one sentence
            alike = all(one.startswith("expected ") for one in said)
            text = (
                "expected " + ", or ".join(one.removeprefix("expected ") for one in said) if alike else "; ".join(said)
            )
            problems.append(Problem(key, "nothing" if value is _NOTHING else shown(value), text))
    except FGLError as error:
        problems.append(Problem(family, "", str(error)))
    return None


_NOTHING = object()


def _judged(family: str, cls: type[Options], given: dict[str, Any], detail: Any) -> tuple[str, Any, str]:
    """(key, what it holds, what it may hold) of what pydantic finds wrong."""
    place = detail["loc"]
    value = detail["input"]
    # Of an option that may be one of several kinds, each kind is a part of the place, in the words of Python.
    if len(place) > 1 and _has_kinds(cls, place[0]):
        place, value = place[:1], given.get(str(place[0]), value)
    key = ".".join([family, *map(str, place)])
    if detail["type"] == "extra_forbidden":
        option = str(place[-1])
        return (
            key,
            value,
            f"unknown option{suggestion(option, cls.model_fields)} (known: {', '.join(cls.model_fields)})",
        )
    if detail["type"] == "missing":
        short = isinstance(detail["loc"][-1], int)
        return key, _NOTHING, "expected a longer list" if short else "this option is required"
    return key, value, _expected(detail)


def _has_kinds(cls: type[Options], name: Any) -> bool:
    field = cls.model_fields.get(str(name))
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] if field is not None else []
    return len(kinds) > 1 and get_origin(getattr(field, "annotation", None)) in (Union, UnionType)


_KINDS = {
    "list_type": "a list such as [a, b]",
    "tuple_type": "a list such as [a, b]",
    "set_type": "a list such as [a, b]",
    "dict_type": "a mapping such as {a: b}",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "none_required": "null",
}
_BOUNDS = {
    "literal_error": "{expected}",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of at least {min_length} in length",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "too_short": "at least {min_length} in the list, not {actual_length}",
    "too_long": "at most {max_length} in the list, not {actual_length}",
}


def _expected(detail: Any) -> str:
    """In the words of YAML and --set, where pydantic speaks of Python."""
    kind, more = detail["type"], detail.get("ctx", {})
    plain = _KINDS.get(kind)
    if plain is not None:
        return f"expected {plain}"
    if kind == "string_too_short" and more["min_length"] == 1:
        return "expected text that is not empty"
    if kind in _BOUNDS:
        return "expected " + _BOUNDS[kind].format(**more)
    message: str = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _nuls(key: str, value: Any, depth: int = 20) -> Iterator[tuple[str, str]]:
    """(key, text) of each text with a NUL in a value."""
    if isinstance(value, str):
        if "\0" in value:
            yield key, value
    elif isinstance(value, dict | list | tuple) and depth:  # with an alias, YAML can hold itself
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _nuls(f"{key}.{name}", inner, depth - 1)


def shown(value: Any, depth: int = 4) -> str:
    """A value as YAML has it, in quotes where it is text, and no longer than a line."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, dict) and value and depth:
        text = "{" + ", ".join(f"{name}: {shown(one, depth - 1)}" for name, one in list(value.items())[:8]) + "}"
    elif isinstance(value, list | tuple) and value and depth:
        text = "[" + ", ".join(shown(one, depth - 1) for one in value[:8]) + "]"
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _integer(value: Any, problems: list[Problem]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        problems.append(Problem("seed", shown(value), "expected a whole number from 0 to 2^63 - 1"))
        return 0
    return value


def _device(value: Any, problems: list[Problem]) -> str:
    kind = str(value).partition(":")
    if (
        not isinstance(value, str)
        or kind[0] not in ("auto", "cpu", "cuda", "mps")
        or (kind[1] and not kind[2].isdigit())
    ):
        problems.append(Problem("device", shown(value), "expected auto, cpu, mps, cuda or cuda:N"))
        return "auto"
    return value


def _overrides(rounds: Any, classifier: Any, registry: Registry, problems: list[Problem]) -> None:
    """Check options of the classifier that are given for local training, or for the server's."""
    if rounds is None or classifier is None:
        return
    cls = registry.options_class(registry.find("classifier", classifier.name))
    for part in ("local", "server"):
        given = getattr(rounds, part)
        # A preset would replace nothing: every option of the classifier has its value by now.
        if "preset" in given:
            problems.append(Problem(f"rounds.{part}.preset", repr(given["preset"]), "expected single options"))
        elif given:
            _validate(f"rounds.{part}", cls, {**classifier.options, **given}, problems)


def _baselines(value: Any, registry: Registry, problems: list[Problem]) -> dict[str, Selected]:
    if not isinstance(value, dict) or not all(isinstance(given, dict) for given in value.values()):
        expected = "expected algorithms with their options, such as {fedprox: {mu: 0.1}}"
        problems.append(Problem("baselines", repr(value), expected))
        return {}
    found = {}
    for name, given in value.items():
        before = len(problems)
        selected = _component("algorithm", {**given, "name": str(name)}, registry, problems)
        problems[before:] = [
            Problem(one.key.replace("algorithm", f"baselines.{name}", 1), one.got, one.expected)
            for one in problems[before:]
        ]
        if selected is not None:
            found[str(name)] = selected
    return found


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
        problems.append(Problem("controls", shown(value), f"expected all, none, or a list of {', '.join(known)}"))
        return ()
    for item in value:
        if item not in known:
            hint = suggestion(str(item), known)
            problems.append(Problem("controls", shown(item), f"unknown control{hint} (known: {', '.join(known)})"))
        elif item.startswith(PROMPTS_CONTROL):
            _component("prompt_strategy", {"name": item.removeprefix(PROMPTS_CONTROL)}, registry, problems)
    return tuple(dict.fromkeys(item for item in value if isinstance(item, str)))
