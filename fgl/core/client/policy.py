"""What the owner of a client lets a server ask. It overrides the request, whoever wrote that.

A site states its own configuration in its file, beside the one that all share, and on its command line. The dataset
comes from there alone; whatever else they set overrides what was asked for; their section `site:` limits what may be
asked at all. By default an upload of embeddings may be asked for, and no file of this machine may be named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fgl.contracts.boundary import is_simulated
from fgl.contracts.options import Options
from fgl.core.client.site_options import SiteOptions
from fgl.core.config import short_forms
from fgl.core.config.defaults import DEFAULTS, PATHS, TEXT_CODEC
from fgl.core.config.fit import is_noise
from fgl.core.config.resolve import codec_problems, resolve, resolved_filters
from fgl.core.config.schema import RunConfig, Selected
from fgl.core.config.validation import shown, validate
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Registry
from fgl.errors import ConfigError, PolicyError, Problem
from fgl.text import plain, quoted

SITE = "site"
COUNTED = ("upload", "vote", "rounds")
"""Tasks whose answers have a price that the ledger counts, or are refused. What a site with a limit answers."""
SIMULATE = "--simulate"
LEDGER = "ledger"
"""Folder below the private one of a simulated client; a site has its own, outside of any run."""
# What a client may take from somebody else's dataset section: what its labels mean, and nothing of where they lie.
_MEANING = ("class_names", "labels", "unlisted_labels", "prompt_names")
# What a client loads for one task or another.
_ASKED = ("prompt_strategy", "generator", "classifier", "features", "algorithm", "executor")
_BUILT_IN = "fgl"


@dataclass(frozen=True)
class Policy:
    """own: the site's own layers of configuration, later ones win, without the section `site`."""

    rules: SiteOptions = field(default_factory=SiteOptions)
    own: Sequence[Mapping[str, object]] = ()

    def configure(
        self, shared: Mapping[str, object], manager: PluginManager, source: str = "the configuration"
    ) -> RunConfig:
        """What this site makes of a configuration that others wrote. Raises ConfigError, also where there is no dataset
        of the site's own, and PolicyError with everything that was asked for and may not be."""
        own = [{key: value for key, value in layer.items() if key != "dataset"} for layer in self.own]
        rest = {key: value for key, value in shared.items() if key not in ("dataset", "trackers")}
        dataset = own_dataset(shared.get("dataset"), self.own, manager.registry, source)
        config = resolve([rest, {"dataset": dataset}, *own], manager.registry, source)
        self.judge(config, manager)
        return self._with_required(config, manager.registry)

    def _with_required(self, config: RunConfig, registry: Registry) -> RunConfig:
        """With the filters that this site requires, unless they are there already: noise before the chain, since it is
        priced for exact rows, the others at its end. Raises PolicyError where other noise was asked for."""
        problems = list[Problem]()
        required = resolved_filters(self.rules.required_filters, registry, problems, f"{SITE}.required_filters")
        if problems:
            raise ConfigError(problems, "this site's policy")
        noise = [one for one in required if is_noise(str(one["name"]), registry)]
        last = [one for one in required if one not in noise]
        asked = config.upload.filters
        others = [one for one in asked if is_noise(str(one["name"]), registry) and one not in noise]
        if noise and others:
            whose, wanted = f"{SITE}.required_filters", shown(noise[0])
            expected = f"{whose} has {wanted} in its place, and noise is added once"
            raise PolicyError([Problem("upload.filters", shown(others[0]), expected)], _ASKER)
        chain = [*(one for one in noise if one not in asked), *asked]
        chain += last if last and chain[-len(last) :] != last else []
        return config.model_copy(update={"upload": config.upload.model_copy(update={"filters": chain})})

    def judge(self, config: RunConfig, manager: PluginManager, others: Sequence[tuple[str, Selected]] = ()) -> None:
        """others: components that a request names beside its configuration, each with its family."""
        problems = [*self._refused(config)]
        asked = [*((family, getattr(config, family)) for family in _ASKED), *others]
        asked += [("upload_filter", one) for one in config.upload.chain()]
        if config.upload.codec != TEXT_CODEC:
            asked.append(("codec", Selected(name=config.upload.codec, options={})))
        for family, component in asked:
            problems += self._component(family, component, manager)
        if problems:
            raise PolicyError(dict.fromkeys(problems), _ASKER)

    def ledger(self) -> Path:
        """The folder of what was answered: no run's, so that another run over the same images finds it."""
        if self.rules.ledger is not None:
            return Path(self.rules.ledger).expanduser()
        state = os.environ.get("XDG_STATE_HOME", "")
        return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "fgl" / "ledger"

    def judge_task(self, task: str) -> None:
        """Raises PolicyError where the site does not allow a task."""
        if task not in self.rules.tasks:
            raise PolicyError([_problem("task", task, "tasks", self.rules.tasks)], _ASKER)

    def _refused(self, config: RunConfig) -> Iterator[Problem]:
        if config.upload.clients is None:
            expected = "expected the ids of the clients, in the configuration that all share: without them, clients are"
            yield Problem("upload.clients", "null", f"{expected} parts of one dataset; {_TO_SIMULATE}")
        codec, strategy = config.upload.codec, config.prompt_strategy.name
        if codec not in {*self.rules.codecs, *self._words("upload", "codec")}:
            yield _problem("upload.codec", codec, "codecs", self.rules.codecs)
        allowed = self.rules.prompt_strategies
        if allowed is not None and strategy not in allowed:
            yield _problem("prompt_strategy", strategy, "prompt_strategies", allowed)
        allowed, own = self.rules.upload_filters, self._words("upload", "filters")
        for name in dict.fromkeys(one.name for one in config.upload.chain()):
            if allowed is not None and name not in allowed and not own:
                yield _problem("upload.filters", name, "upload_filters", allowed)

    def _component(self, family: str, component: Selected, manager: PluginManager) -> Iterator[Problem]:
        rules, entry = self.rules, manager.registry.find(family, component.name)
        if rules.plugins is not None and entry.distribution not in {_BUILT_IN, *rules.plugins}:
            yield _problem(family, f"{component.name} of {entry.distribution}", "plugins", rules.plugins)
        options = manager.options(family, component)
        for key, value, path in _paths(options, component.options, entry.distribution == _BUILT_IN):
            if not self._may_read(path):
                yield _problem(f"{family}.{key}", value, "paths", rules.paths)
        for use in options.models():
            known = rules.hub_models is None or any(fnmatchcase(use.model, pattern) for pattern in rules.hub_models)
            if not known and _as_path(use.model) is None:
                yield _problem(f"{family}.model", use.model, "hub_models", rules.hub_models or [])

    def _may_read(self, path: Path) -> bool:
        """Links are followed first: neither .. nor a link leads out of what may be read."""
        real = path.resolve()
        if any(real.is_relative_to(Path(root).expanduser().resolve()) for root in self.rules.paths):
            return True
        # its images may be read as images, and as nothing else
        values = [value for layer in self.own for key, value in layer.items() if key != "dataset"]
        return any(real == named.resolve() for text in _texts(values) if (named := _as_path(text)) is not None)

    def _words(self, section: str, key: str) -> list[Any]:
        """The values that the site itself gives an option."""
        sections = [layer.get(section) for layer in self.own]
        return [one[key] for one in sections if isinstance(one, Mapping) and key in one]


def own_dataset(shared: Any, own: Sequence[Mapping[str, object]], registry: Registry, source: str) -> dict[str, object]:
    """The dataset section of a site: its own, with what the shared one says of classes, and `holds: train` unless it
    says otherwise itself. Raises ConfigError where the site names none."""
    shared_section = _section(shared, registry)
    site_section: dict[str, object] = {}
    for layer in own:
        given = _section(layer.get("dataset"), registry)
        site_section = {
            **(site_section if given.get("name", site_section.get("name")) == site_section.get("name") else {}),
            **given,
        }
    path = site_section.get("path")
    if "name" not in site_section and isinstance(path, str):
        unsaid = DEFAULTS["dataset"]["name"]
        name = shared_section.get("name", unsaid)
        kind = short_forms.kind_of("dataset", path, registry) or PATHS["dataset", "folder"]
        site_section["name"] = kind if name == unsaid else name
    if "name" not in site_section:
        expected = (
            "expected a dataset of the site's own, in a file of its own or by --dataset: fgl client prepare "
            f"shared.yaml site.yaml --client K; {_TO_SIMULATE}"
        )
        got = (
            f"{plain(shared_section['name'], 60)}, in the first file, which all share"
            if shared_section.get("name")
            else "none"
        )
        raise ConfigError([Problem("dataset", got, expected)], source)
    try:
        known = registry.options_class(registry.find("dataset", str(site_section["name"]))).model_fields
    except Exception:  # `resolve` says what is wrong with it
        return site_section
    kept = {key: shared_section[key] for key in _MEANING if shared_section.get(key) is not None and key in known}
    if "labels" in site_section or "class_names" in site_section:
        kept = {key: value for key, value in kept.items() if key == "prompt_names"}
    return {**({"holds": "train"} if "holds" in known else {}), **kept, **site_section}


def with_meaning(layers: Sequence[Mapping[str, object]], registry: Registry) -> list[dict[str, object]]:
    """Layers in which a dataset is the one that the last of them names, with what an earlier one says of classes: a
    layer that selects another dataset would drop it."""
    complete: list[dict[str, object]] = []
    meaning: dict[str, object] = {}
    for layer in layers:
        section = _section(layer.get("dataset"), registry)
        if "labels" in section or "class_names" in section:
            meaning = {key: value for key, value in meaning.items() if key == "prompt_names"}
        meaning |= {key: section[key] for key in _MEANING if section.get(key) is not None}
        complete.append({**layer, "dataset": {**meaning, **section}} if section else dict(layer))
    return complete


def at_server(layers: Sequence[Mapping[str, object]], registry: Registry) -> list[dict[str, object]]:
    """The layers of a server; where clients hold data of their own, its images are test images unless it says
    otherwise: it trains on none, and a part of them would be left out in silence.

    Raises ConfigError where it names none to test on: the bundled data is not what anybody meant."""
    complete = with_meaning(layers, registry)
    sections = [layer.get("upload") for layer in layers]
    if not any(isinstance(section, Mapping) and section.get("clients") is not None for section in sections):
        return complete
    dataset: dict[str, object] = {}
    for layer in layers:
        dataset |= _section(layer.get("dataset"), registry)
    if "name" not in dataset:
        expected = (
            "expected the images that the server tests on, in a file of its own: --config shared.yaml --config "
            "server.yaml"
        )
        raise ConfigError([Problem("dataset", "none", expected)], "the configuration")
    name = str(dataset["name"])
    known = ("dataset", name) in registry.entries and "holds" not in dataset
    if known and "holds" in registry.options_class(registry.find("dataset", name)).model_fields:
        complete.append({"dataset": {"holds": "test"}})
    return complete


_ASKER = "what was asked of this site"
_TO_SIMULATE = f"to play a client of a partition instead, with nothing of a site's: {SIMULATE}"


def _section(value: Any, registry: Registry) -> dict[str, object]:
    value = short_forms.expanded("dataset", value, registry)
    return {str(key): option for key, option in value.items()} if isinstance(value, Mapping) else {}


def _problem(key: str, got: str, rule: str, allowed: Sequence[str]) -> Problem:
    listed = ", ".join(allowed) if allowed else "none"
    advice = f"to allow it, add it to {SITE}.{rule} in the site's own file"
    advice += ", or give this option there" if rule in ("codecs", "paths", "upload_filters") else ""
    return Problem(key, quoted(got, 200), f"{SITE}.{rule} allows {listed}; {advice}")


# --- what an option names on this disk ------------------------------------------------------------------------------


def _paths(options: Options, values: Mapping[str, object], built_in: bool) -> Iterator[tuple[str, str, Path]]:
    """(option, value, path) of each text among the options that names something on this disk, or would.

    built_in: whether the options are known to declare all of their files and models. What a plugin's text names is
    seen by whether it is there."""
    files, models = set(options.files()), {use.model for use in options.models()}
    for key, value in values.items():
        for text in _texts(value):
            path = Path(text).expanduser() if text in files else _as_path(text, text in models or not built_in)
            if path is not None:
                yield key, text, path


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _as_path(text: str, seek: bool = True) -> Path | None:
    """None where a text is not a path: it does not look like one and, with `seek`, nothing of that name exists."""
    if not text or "\0" in text:
        return None
    try:
        path = Path(text).expanduser()
        is_present = seek and path.exists()
    except (OSError, RuntimeError):  # too long for a name; an unknown user
        path, is_present = Path(text), False
    # {: a template, however it begins
    is_pathlike = "{" not in text and (
        text.startswith(("/", "~", "./", "../")) or text in (".", "..") or "/../" in text
    )
    return path if is_present or is_pathlike else None


# --- where a request is answered ------------------------------------------------------------------------------------

_NOBODY = Policy()
_HERE: ContextVar[tuple[Policy, Path | None]] = ContextVar("policy", default=(_NOBODY, None))


@contextmanager
def at_site(policy: Policy, private: Path | None = None) -> Iterator[None]:
    """Requests in this block are answered by this policy. A transport that carries them to a site's machine calls it
    there; without it, and outside of a simulation, nothing of a machine is read. private: overrides the policy's."""
    token = _HERE.set((policy, private))
    try:
        yield
    finally:
        _HERE.reset(token)


def is_at_site() -> bool:
    """Whether requests are answered by the policy of a site's owner here."""
    return _HERE.get()[0] is not _NOBODY


def private_folder(asked: Mapping[str, Any]) -> Path | None:
    """Where what a client keeps lies. Only in a simulation may the one who asks say so."""
    if is_simulated():
        return Path(asked["private"]) if "private" in asked else None
    policy, private = _HERE.get()
    if private is None and policy.rules.private is not None:
        return Path(policy.rules.private).expanduser()
    return private


def allowed(asked: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A request as this site answers it: what it may not ask for is an error, what it may not say is the site's own.

    Raises PolicyError or ConfigError."""
    if is_simulated():
        return {**asked, "ledger": str(Path(asked["private"]) / LEDGER)} if "private" in asked else dict(asked)
    policy, manager = _HERE.get()[0], PluginManager.load()
    policy.judge_task(task)
    config = policy.configure(asked["config"], manager)
    policy.judge(config, manager, _beside(asked, manager))
    if task not in COUNTED and config.privacy.max_epsilon is not None:
        expected = f"nothing whose price is not known: privacy.max_epsilon is set here; {', '.join(COUNTED)} with noise"
        raise PolicyError([Problem("task", quoted(task), f"expected {expected}")], _ASKER)
    private = private_folder(asked)
    if private is None:
        problem = Problem("site.private", "none", "expected the folder for what stays here, in the site's own file")
        raise PolicyError([problem], "this site's policy")
    name = asked.get("name", "")
    if name and (Path(name).name != name or name == ".."):  # a folder below the private one
        raise PolicyError([Problem("name", quoted(name), "expected the name of a folder")], "what was asked")
    return {**asked, "config": config.to_dict(), "private": str(private), "ledger": str(policy.ledger()), "data": ""}


def _beside(asked: Mapping[str, Any], manager: PluginManager) -> list[tuple[str, Selected]]:
    """Components that the request of a round names beside its configuration. Raises ConfigError."""
    components, problems = [], list[Problem]()
    for family in ("algorithm", "classifier"):
        if family in asked:
            selected = Selected.model_validate(asked[family])
            entry = manager.registry.find(family, selected.name)
            validate(family, manager.registry.options_class(entry), selected.options, problems)
            components.append((family, selected))
    if problems:
        raise ConfigError(problems, _ASKER)
    return components


def split(layers: Sequence[Mapping[str, object]], source: str) -> Policy:
    """The policy that a site's own layers make. Raises ConfigError where their section `site` is wrong."""
    rules: dict[str, object] = {}
    problems: list[Problem] = []
    for layer in layers:
        section = layer.get(SITE, {})
        if not isinstance(section, Mapping):
            problems.append(
                Problem(SITE, shown(section), f"expected a mapping ({', '.join(SiteOptions.model_fields)})")
            )
        else:
            rules |= section
    checked = validate(SITE, SiteOptions, rules, problems)
    if isinstance(checked, SiteOptions) and {"codecs", "required_filters"} & set(rules):
        registry = PluginManager.load().registry
        for name in checked.codecs:
            problems += codec_problems(f"{SITE}.codecs", name, registry)
        resolved_filters(checked.required_filters, registry, problems, f"{SITE}.required_filters")
    if problems or not isinstance(checked, SiteOptions):
        raise ConfigError(problems, source)
    return Policy(checked, [{key: value for key, value in layer.items() if key != SITE} for layer in layers])
