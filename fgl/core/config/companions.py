"""What goes with a component: configuration that is used where it is selected and nobody chooses otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fgl.contracts.component import FAMILIES
from fgl.core.config import short_forms
from fgl.core.registry import Registry
from fgl.errors import PluginError


def layers(given: Sequence[Mapping[str, object]], registry: Registry) -> list[Mapping[str, object]]:
    """`Component.companions` of each component that the layers select, as layers to put below them. Companions may have
    companions, which are put below theirs."""
    selected = _selected(given, registry)
    made: list[Mapping[str, object]] = []
    for family in FAMILIES:
        made = [*_companions(family, selected, registry), *made] if family in selected else made
    below = [one for layer in made for one in _indirect(layer, selected, registry)]
    return [*below, *made]


def _indirect(
    layer: Mapping[str, object], selected: Mapping[str, str], registry: Registry
) -> list[Mapping[str, object]]:
    """Companions of what a companion selects; one step, so that two that name each other end."""
    more = {family: name for family, name in _selected([layer], registry).items() if family not in selected}
    return [one for family in more for one in _companions(family, more, registry)]


def _selected(given: Sequence[Mapping[str, object]], registry: Registry) -> dict[str, str]:
    """Family → the component that the last of the layers selects."""
    selected: dict[str, str] = {}
    for layer in given:
        for family in FAMILIES:
            section = short_forms.expanded(family, layer[family], registry) if family in layer else None
            if isinstance(section, Mapping) and isinstance(section.get("name"), str):
                selected[family] = section["name"]
    return selected


def _companions(family: str, selected: Mapping[str, str], registry: Registry) -> list[Mapping[str, object]]:
    try:
        companions = registry.find(family, selected[family]).component.companions
    except PluginError:  # reported when the configuration is checked
        return []
    return [companions] if companions else []
