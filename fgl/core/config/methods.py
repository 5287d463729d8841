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


def layer(layers: Sequence[Mapping[str, object]], registry: Registry, problems: list[Problem]) -> Mapping[str, object]:
    """The configuration of the method that these layers select (later ones win). Adds to `problems` what is wrong with
    its parts; what is wrong with the selection itself is left to whoever checks all components."""
    selected = _selected(layers, registry)
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
    return {key: value for key, value in parts.items() if key not in missing}


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


def selection(name: str, layers: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """A layer that selects the method, with the options that these layers give it under `baseline_options`."""
    options: dict[str, object] = {}
    for one in layers:
        given = one.get("baseline_options")
        of_method = given.get(name) if isinstance(given, Mapping) else None
        options |= of_method if isinstance(of_method, Mapping) else {}
    return {KEY: {**options, "name": name}}


def without_rivals(
    layers: Sequence[Mapping[str, object]], parts: Mapping[str, object], registry: Registry
) -> list[Mapping[str, object]]:
    """The layers without sections that select, or set options of, another component than the method does. In a
    comparison the configuration is that of all methods, and what it says of other components is not for this one."""
    names = {
        family: section["name"]
        for family, value in parts.items()
        if family in FAMILIES and isinstance(section := short_forms.expanded(family, value, registry), Mapping)
    }
    current = {family: DEFAULTS[family]["name"] for family in names}
    kept: list[Mapping[str, object]] = []
    for one in layers:
        rest = dict(one)
        for family, name in names.items():
            if family not in rest:
                continue
            section = short_forms.expanded(family, rest[family], registry)
            if isinstance(section, Mapping):
                current[family] = section.get("name", current[family])
            if current[family] != name:
                del rest[family]
        kept.append(rest)
    return kept


def _selected(layers: Sequence[Mapping[str, object]], registry: Registry) -> dict[str, object]:
    """Name and options that the last of these layers give."""
    selected: dict[str, object] = dict(DEFAULTS[KEY])
    for one in layers:
        value = short_forms.expanded(KEY, one[KEY], registry) if KEY in one else None
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
        name = section.get("name") if isinstance(section, Mapping) else None
        if not isinstance(name, str):
            expected = f"sets {family} to {shown(value)}, expected a name, or a mapping with a name and options"
            problems[family] = Problem(KEY, repr(method), expected)
            continue
        try:
            registry.find(family, name)
        except PluginError as error:
            problems[family] = Problem(KEY, repr(method), f"cannot be used here: {error}")
    return problems
