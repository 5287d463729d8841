"""Layers and defaults → one resolved configuration, or every problem at once."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fgl.contracts.component import FAMILIES, SELECTED_BY, Component
from fgl.contracts.options import Options
from fgl.core.baselines import BASELINES, PROMPTS
from fgl.core.config import companions, deprecated, fit, methods, short_forms
from fgl.core.config import server as config_server
from fgl.core.config.adaptation import AdaptationOptions
from fgl.core.config.defaults import DEFAULTS, PATHS, PLAIN_RULE, PROMPTS_COMPARED, TEXT_CODEC
from fgl.core.config.schema import (
    ORDER,
    AuditOptions,
    EvaluationOptions,
    PrivacyOptions,
    RoundsOptions,
    RunConfig,
    Selected,
    SynthesisOptions,
    UploadOptions,
)
from fgl.core.config.server import ServerOptions
from fgl.core.config.validation import shown, validate
from fgl.core.config.votes import VotesOptions
from fgl.core.registry import Registry
from fgl.errors import ConfigError, PluginError, Problem, nearest, suggestion

_PLAIN: dict[str, type[Options]] = {
    "upload": UploadOptions,
    "adaptation": AdaptationOptions,
    "votes": VotesOptions,
    "synthesis": SynthesisOptions,
    "rounds": RoundsOptions,
    "evaluation": EvaluationOptions,
    "audit": AuditOptions,
    "privacy": PrivacyOptions,
    "server": ServerOptions,
}


def resolve(
    layers: Sequence[Mapping[str, object]],
    registry: Registry,
    source: str = "the configuration",
    method: str | None = None,
) -> RunConfig:
    """Merge layers (later ones win) over the defaults and check everything.

    What a method sets lies directly below the layer that selects it. A layer that selects another component drops the
    options that earlier layers gave to the old one. method: in a comparison, the method to use instead of that of the
    layers; what it sets wins. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    merged = copy.deepcopy(DEFAULTS)
    unknown: dict[str, object] = {}
    current: list[Mapping[str, object]] = [deprecated.current(layer, problems, source) for layer in layers]
    if method is None:
        chosen = methods.with_parts(current, registry, problems)
    else:
        chosen = methods.replaced(current, method, registry, problems)
    for layer in (*companions.layers(chosen, registry), *chosen):
        for key, value in layer.items():
            if key in DEFAULTS:
                _merge(merged, key, copy.deepcopy(value), registry, problems)
            else:
                unknown[key] = value
    problems += [_unknown(key, value, merged, registry) for key, value in unknown.items()]
    values: dict[str, Any] = {
        "seed": _integer(merged["seed"], problems),
        "device": _device(merged["device"], problems),
        "all_baselines": merged["baselines"] == "all",
    }
    for family in ORDER:
        given = merged[family]
        if family == "upload":
            given = {**given, "filters": resolved_filters(given.get("filters", []), registry, problems)}
        if family == "rounds" and "aggregation" in given:
            given = {**given, "aggregation": _rule(given["aggregation"], registry, problems)}
        values[family] = (
            _plain(family, given, problems) if family in _PLAIN else _component(family, given, registry, problems)
        )
    _overrides(values["rounds"], values["classifier"], registry, problems)
    values["baseline_options"] = _baseline_options(merged["baseline_options"], registry, problems)
    values["trackers"] = _trackers(merged["trackers"], registry, problems)
    values["server"] = _plain("server", merged["server"], problems)
    upload = values["upload"]
    if upload is not None and values["server"] is not None:
        problems += config_server.problems(values["server"], upload)
    if upload is not None:
        problems += codec_problems("upload.codec", upload.codec, registry)
    if upload is not None and upload.clients is not None and upload.min_clients > len(upload.clients):
        expected = f"at most {len(upload.clients)}: upload.clients lists no more"
        problems.append(Problem("upload.min_clients", str(upload.min_clients), expected))
    strategy = values["prompt_strategy"].name if values["prompt_strategy"] is not None else ""
    values["baselines"] = _baselines(merged["baselines"], strategy, registry, problems)
    problems += fit.check(values, registry)
    if problems:
        raise ConfigError(problems, source)
    return RunConfig(**values)


def _merge(merged: dict[str, Any], key: str, value: Any, registry: Registry, problems: list[Problem]) -> None:
    if key in FAMILIES:
        value = short_forms.expanded(key, value, registry, problems)
        if key == "dataset" and isinstance(value, dict):
            value = _with_kind(value, merged[key], registry)
        if not isinstance(value, dict):
            problems.append(Problem(key, shown(value), "expected a name, or a mapping with a name and options"))
            return
        old = merged[key]
        name = value.get("name", old["name"])
        merged[key] = {**(old if name == old["name"] else {}), **value, "name": name}
    elif key in _PLAIN:
        old = merged[key]
        if not isinstance(value, dict):
            hint = f": set {key}.{_MAIN[key]}" if key in _MAIN and isinstance(value, int) else ""
            expected = f"expected a mapping ({', '.join(_PLAIN[key].model_fields)}){hint}"
            problems.append(Problem(key, shown(value), expected))
            return
        merged[key] = {**merged[key], **value}
        if key == "rounds" and isinstance(rule := value.get("aggregation"), dict) and "name" not in rule:
            before = short_forms.expanded("aggregation_rule", old.get("aggregation", PLAIN_RULE), registry)
            merged[key]["aggregation"] = {**(before if isinstance(before, dict) else {}), **rule}
        if key == "rounds" and isinstance(price := value.get("privacy"), dict):
            merged[key]["privacy"] = {**(old.get("privacy") or {}), **price}
    elif key == "baseline_options" and isinstance(value, dict):
        both = {
            name: {**merged[key].get(name, {}), **given} for name, given in value.items() if isinstance(given, dict)
        }
        merged[key] = {**merged[key], **value, **both}
    else:
        merged[key] = value


_MAIN = {"rounds": "count", "synthesis": "images_per_class"}
"""What a number instead of a mapping means: the flag of that name sets this."""


def _unknown(key: str, value: Any, merged: Mapping[str, Any], registry: Registry) -> Problem:
    """An unknown key. What is an option of a family, as flags are, is told where it belongs."""
    if key in SELECTED_BY:
        return Problem(key, shown(value), f"unknown key: set {SELECTED_BY[key]}")
    places = [f"{family}.{key}" for family in ORDER if key in _options_of(family, merged, registry)]
    if places:
        return Problem(key, shown(value), f"unknown key: set {' or '.join(places)}")
    return Problem(key, shown(value), f"unknown key{suggestion(key, DEFAULTS)} (known: {', '.join(DEFAULTS)})")


def _options_of(family: str, merged: Mapping[str, Any], registry: Registry) -> Mapping[str, object]:
    """Options of a part, or of the component that is selected for it; none where there is no such component."""
    if family in _PLAIN:
        return _PLAIN[family].model_fields
    try:
        return registry.options_class(registry.find(family, str(merged[family]["name"]))).model_fields
    except PluginError:
        return {}


def _with_kind(value: dict[str, object], old: Mapping[str, object], registry: Registry) -> dict[str, object]:
    """A dataset of which the path alone is said, with the name of its kind, which is read off what lies there."""
    path = value.get("path")
    if "name" in value or old != DEFAULTS["dataset"] or not isinstance(path, str):
        return value
    return {"name": short_forms.kind_of("dataset", path, registry) or PATHS["dataset", "folder"], **value}


def _component(family: str, given: dict[str, object], registry: Registry, problems: list[Problem]) -> Selected | None:
    name, options = given["name"], {key: value for key, value in given.items() if key != "name"}
    if not isinstance(name, str):
        known = ", ".join(registry.names(family))
        problems.append(Problem(f"{family}.name", shown(name), f"expected a name (installed: {known})"))
        return None
    try:
        entry = registry.find(family, name)
        cls = registry.options_class(entry)
    except PluginError as error:
        hint = _dataset_hint(name, registry) if family == "dataset" else ""
        problems.append(Problem(family, shown(name), f"{error}{hint}"))
        return None
    options = deprecated.current_options(options, cls.renamed, family, problems)
    checked = validate(family, cls, {**_defaults(entry.component, options), **options}, problems)
    return None if checked is None else Selected(name=name, options=checked.model_dump(mode="json"))


def selected(family: str, name: str, options: Mapping[str, object], registry: Registry) -> Selected:
    """A component outside of any configuration, with every option. Raises ConfigError."""
    problems: list[Problem] = []
    if family not in FAMILIES:
        expected = f"unknown family{suggestion(family, FAMILIES)} (known: {', '.join(FAMILIES)})"
        raise ConfigError([Problem("family", shown(family), expected)], "a call of fgl.create")
    component = _component(family, {**options, "name": name}, registry, problems)
    if component is None:
        raise ConfigError(problems, "a call of fgl.create")
    return component


def _dataset_hint(name: str, registry: Registry) -> str:
    """What else a word in the place of a dataset may have been meant to be."""
    kind = DEFAULTS["dataset"]["name"]
    known = registry.options_class(registry.find("dataset", kind)).known_texts()
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.75)
    meant = f": did you mean '{kind}:{close[0]}'?" if close else ""
    return f"{meant}; a path must exist, bundled data is bundled:NAME, the Hub's is hf:OWNER/NAME"


def _defaults(component: Component, given: Mapping[str, object]) -> dict[str, object]:
    """The component's, less those that hold for another default that `given` replaces."""
    defaults = dict(component.defaults)
    for name, others in component.tied_defaults.items():
        if name in given and given[name] != component.defaults.get(name):
            for other in others:
                defaults.pop(other, None)
    return defaults


def _plain(family: str, given: dict[str, object], problems: list[Problem]) -> Options | None:
    return validate(family, _PLAIN[family], given, problems)


def _integer(value: Any, problems: list[Problem]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        problems.append(Problem("seed", shown(value), "expected a whole number from 0 to 2^63 - 1"))
        return 0
    return int(value)


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
            problems.append(Problem(f"rounds.{part}.preset", shown(given["preset"]), "expected single options"))
            continue
        problems += [
            Problem(f"rounds.{part}.{name}", shown(value), cls.fixed_in_rounds[name].format(part=part))
            for name, value in given.items()
            if name in cls.fixed_in_rounds
        ]
        if given:
            validate(f"rounds.{part}", cls, {**classifier.options, **given}, problems)
    late = sorted(number for number in rounds.drop if number > rounds.count)
    if rounds.count and late:
        numbers = ", ".join(map(str, late))
        problems.append(Problem("rounds.drop", numbers, f"expected rounds from 1 to {rounds.count} (rounds.count)"))


def _baseline_options(value: Any, registry: Registry, problems: list[Problem]) -> dict[str, Selected]:
    if not isinstance(value, dict) or not all(isinstance(given, dict) for given in value.values()):
        expected = "expected algorithms or methods with their options, such as {fedprox: {mu: 0.1}}"
        problems.append(Problem("baseline_options", shown(value), expected))
        return {}
    components, algorithms, bundles = {}, registry.names("algorithm"), registry.names(methods.KEY)
    for name, given in value.items():
        if name not in (*algorithms, *bundles):
            problems.append(_neither(str(name), bundles, algorithms, registry))
            continue
        before = len(problems)
        # of two components of one name, the algorithm is what a comparison runs
        family = "algorithm" if name in algorithms else methods.KEY
        selected = _component(family, {**given, "name": str(name)}, registry, problems)
        problems[before:] = [
            Problem(problem.key.replace(family, f"baseline_options.{name}", 1), problem.got, problem.expected)
            for problem in problems[before:]
        ]
        if selected is not None:
            components[str(name)] = selected
    return components


def _neither(name: str, bundles: Sequence[str], algorithms: Sequence[str], registry: Registry) -> Problem:
    """A name under `baseline_options` that no method (`bundles`) and no algorithm has."""
    families = {"method": bundles, "algorithm": algorithms}
    close = [f"the {what} {like!r}" for what, names in families.items() if (like := nearest(name, names)) is not None]
    meant = f": did you mean {' or '.join(close)}?" if close else ""
    known = "; ".join(f"{what}s: {', '.join(names)}" for what, names in families.items())
    failed = "".join(f"; not loaded: {reason}" for reason in registry.failed)
    expected = f"neither a method nor a federated algorithm{meant} (installed {known}){failed}"
    return Problem(f"baseline_options.{name}", shown(name), expected)


def codec_problems(key: str, name: str, registry: Registry) -> list[Problem]:
    """What is wrong with the name of a codec."""
    known = [*registry.names("codec"), TEXT_CODEC]
    if name == TEXT_CODEC:
        return []
    if name not in known:
        listed = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        return [Problem(key, shown(name), f"expected {listed}{suggestion(name, known)}")]
    try:
        registry.find("codec", name)
    except PluginError as error:
        return [Problem(key, shown(name), str(error))]
    return []


def resolved_filters(
    value: Any, registry: Registry, problems: list[Problem], key: str = SELECTED_BY["upload_filter"]
) -> list[dict[str, object]]:
    """A chain of upload filters, each as a mapping with its name and every option. A single one needs no list. key: of
    the configuration, for problems."""
    return _list_of("upload_filter", value, registry, problems, key)


def _list_of(family: str, value: Any, registry: Registry, problems: list[Problem], key: str) -> list[dict[str, object]]:
    """Several components of a family, as `resolved_filters`."""
    chain = value if isinstance(value, list | tuple) else [value]
    resolved = []
    for given in chain:
        before = len(problems)
        one = short_forms.expanded(family, given, registry, problems)
        if isinstance(one, dict) and "name" in one:
            component = _component(family, one, registry, problems)
            if component is not None:
                resolved.append({"name": component.name, **component.options})
        elif len(problems) == before:
            known = ", ".join(registry.names(family))
            expected = f"expected names, or mappings with a name and options (installed: {known})"
            problems.append(Problem(family, shown(given), expected))
        for place, problem in enumerate(problems[before:], before):
            rest = problem.key.removeprefix(family)
            is_known = isinstance(one, dict) and one.get("name") in registry.names(family)
            where = f".{one['name']}" if is_known else ""
            problems[place] = Problem(f"{key}{where}{rest}", problem.got, problem.expected)
    return resolved


def _rule(value: Any, registry: Registry, problems: list[Problem]) -> dict[str, object]:
    """The aggregation rule of rounds, as a mapping with its name and every option."""
    key = SELECTED_BY["aggregation_rule"]
    if isinstance(value, str | dict):
        before = len(problems)
        found = _list_of("aggregation_rule", value, registry, problems, key)
        given = value.get("name") if isinstance(value, dict) else value
        named = f"{key}.{str(given).partition(':')[0]}"
        for place, problem in enumerate(problems[before:], before):  # there is one: its name is no part of the key
            if problem.key.startswith(named):
                problems[place] = Problem(key + problem.key[len(named) :], problem.got, problem.expected)
        return found[0] if found else {"name": PLAIN_RULE}
    known = ", ".join(registry.names("aggregation_rule"))
    problems.append(Problem(key, shown(value), f"expected a name, or a mapping with a name and options ({known})"))
    return {"name": PLAIN_RULE}


def _trackers(value: Any, registry: Registry, problems: list[Problem]) -> tuple[Selected, ...]:
    chosen = _list_of("tracker", value, registry, problems, SELECTED_BY["tracker"])
    names = [str(one["name"]) for one in chosen]
    repeated = sorted({name for name in names if names.count(name) > 1})
    problems += [Problem(SELECTED_BY["tracker"], shown(name), "expected each tracker once") for name in repeated]
    options = [{key: value for key, value in one.items() if key != "name"} for one in chosen]
    return tuple(Selected(name=name, options=given) for name, given in zip(names, options, strict=True))


def _baselines(value: Any, strategy: str, registry: Registry, problems: list[Problem]) -> tuple[str, ...]:
    """strategy: the run's own prompt strategy. "all" has the others of PROMPTS_COMPARED beside it."""
    if value == "none":
        return ()
    if value == "all":
        others = [name for name in PROMPTS_COMPARED if name != strategy]
        return (*(PROMPTS + name for name in others), *BASELINES)
    if isinstance(value, str):
        value = [value]
    known = [*BASELINES, *(PROMPTS + name for name in registry.names("prompt_strategy"))]
    if not isinstance(value, list | tuple):
        problems.append(Problem("baselines", shown(value), f"expected all, none, or a list of {', '.join(known)}"))
        return ()
    for item in value:
        if item not in known:
            hint = suggestion(str(item), known)
            problems.append(Problem("baselines", shown(item), f"unknown baseline{hint} (known: {', '.join(known)})"))
        elif item.startswith(PROMPTS):
            _component("prompt_strategy", {"name": item.removeprefix(PROMPTS)}, registry, problems)
    return tuple(dict.fromkeys(item for item in value if isinstance(item, str)))
