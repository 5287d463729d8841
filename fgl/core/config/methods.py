"""What the selected method adds to a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fgl.contracts.component import FAMILIES
from fgl.contracts.method import SECTIONS
from fgl.core.config import short_forms
from fgl.core.config.defaults import DEFAULTS
from fgl.core.config.validation import shown, validate
from fgl.core.registry import Registry
from fgl.errors import BrokenPluginError, PluginError, Problem

KEY = "method"
NAMED = tuple(family for family in SECTIONS if family in FAMILIES)
"""Families of which a method may select the component."""


def with_parts(
    layers: Sequence[Mapping[str, object]], registry: Registry, problems: list[Problem]
) -> list[Mapping[str, object]]:
    """The layers (later ones win), with what the selected method sets directly below the layer that selects it:
    a method on the command line overrides a file, and is overridden by other flags."""
    last = max((place for place, one in enumerate(layers) if KEY in one), default=0)
    return [*layers[:last], _parts(layers, registry, problems), *layers[last:]]


def replaced(
    layers: Sequence[Mapping[str, object]], name: str, registry: Registry, problems: list[Problem]
) -> list[Mapping[str, object]]:
    """The layers with this method in place of their own, as in a comparison: what it sets wins, with the options that
    the layers give it under `baseline_options`."""
    complete = [*_complete(layers, registry), _selection(name, layers)]
    chosen = with_parts(complete, registry, problems)
    classifiers = [_selected("classifier", each, registry)["name"] for each in (complete, chosen)]
    return chosen if classifiers[0] == classifiers[1] else [_without_overrides(one) for one in chosen]


def _without_overrides(layer: Mapping[str, object]) -> Mapping[str, object]:
    """A layer without options of the shared classifier for local training and for the server's: a method that brings a
    classifier of its own has no use for them."""
    rounds = layer.get("rounds")
    if not isinstance(rounds, Mapping):
        return layer
    return {**layer, "rounds": {key: value for key, value in rounds.items() if key not in ("local", "server")}}


def _parts(layers: Sequence[Mapping[str, object]], registry: Registry, problems: list[Problem]) -> Mapping[str, object]:
    """The configuration of the method that these layers select (later ones win). Adds to `problems` what is wrong with
    its parts; what is wrong with the selection itself is left to whoever checks all components."""
    selected = _selected(KEY, layers, registry)
    name = selected.get("name")
    if not isinstance(name, str):
        return {}
    try:
        entry = registry.find(KEY, name)
        options = validate(KEY, registry.options_class(entry), {**entry.component.defaults, **_without(selected)}, [])
    except PluginError:
        return {}
    if options is None:
        return {}
    method = registry.create(KEY, name, options.model_dump(mode="json"))
    parts = checked(name, method.configuration())
    missing = _not_installed(name, parts, registry)
    problems += missing.values()
    return {
        key: _named(key, value, layers, registry) if key in FAMILIES else value
        for key, value in parts.items()
        if key not in missing
    }


def _named(family: str, value: object, layers: Sequence[Mapping[str, object]], registry: Registry) -> object:
    """A section with a name: options without one are for the component that these layers select."""
    section = short_forms.expanded(family, value, registry)
    return {"name": _selected(family, layers, registry)["name"], **section} if isinstance(section, Mapping) else value


def checked(name: str, parts: object) -> dict[str, object]:
    """What a method has returned, as a layer of a configuration. Raises BrokenPluginError where it cannot be one."""
    if not isinstance(parts, Mapping):
        kind = type(parts).__name__
        raise BrokenPluginError(f"method {name!r} returned {kind} from configuration(), expected a mapping")
    wrong = sorted(str(key) for key in parts if key not in SECTIONS)
    if wrong:
        raise BrokenPluginError(
            f"method {name!r} sets {', '.join(wrong)}, which no method may set; expected only {', '.join(SECTIONS)}"
        )
    return dict(parts)


def _selection(name: str, layers: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """A layer that selects the method, with the options that these layers give it under `baseline_options`."""
    options: dict[str, object] = {}
    for one in layers:
        given = one.get("baseline_options")
        of_method = given.get(name) if isinstance(given, Mapping) else None
        options |= of_method if isinstance(of_method, Mapping) else {}
    return {KEY: {**options, "name": name}}


def _complete(layers: Sequence[Mapping[str, object]], registry: Registry) -> list[Mapping[str, object]]:
    """The layers with a name in every section of a component. In a comparison, options without a name are for what the
    shared configuration selects, and not for what a method puts in its place."""
    complete: list[Mapping[str, object]] = []
    for one in layers:
        sections = {
            family: _named(family, value, complete, registry) for family, value in one.items() if family in NAMED
        }
        complete.append({**one, **sections})
    return complete


def _selected(family: str, layers: Sequence[Mapping[str, object]], registry: Registry) -> dict[str, object]:
    """Name and options that the last of these layers give."""
    selected: dict[str, object] = dict(DEFAULTS[family])
    for one in layers:
        value = short_forms.expanded(family, one[family], registry) if family in one else None
        if isinstance(value, Mapping):
            name = value.get("name", selected["name"])
            selected = {**(selected if name == selected["name"] else {}), **value, "name": name}
    return selected


def _without(selected: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in selected.items() if key != "name"}


def _not_installed(method: str, parts: Mapping[str, object], registry: Registry) -> dict[str, Problem]:
    """Key → what is wrong with the component that the method selects there. The user has named none of them, so the
    message names the method."""
    problems = {}
    for family, value in parts.items():
        if family not in FAMILIES:
            continue
        section = short_forms.expanded(family, value, registry)
        if not isinstance(section, Mapping):
            expected = f"sets {family} to {shown(value)}, expected a name, or a mapping of options"
            problems[family] = Problem(KEY, repr(method), expected)
            continue
        name = section.get("name")
        if not isinstance(name, str):  # options for whichever component is selected; a wrong name is reported later
            continue
        try:
            registry.find(family, name)
        except PluginError as error:
            problems[family] = Problem(KEY, repr(method), f"cannot be used here: {error}")
    return problems
