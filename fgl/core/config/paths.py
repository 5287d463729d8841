"""Paths of a configuration, made absolute: they mean the same wherever a run is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.core.config.schema import ORDER, RunConfig, Selected

if TYPE_CHECKING:
    from fgl.contracts.options import Options


def located(config: RunConfig, options_of: Callable[[str, Selected], Options]) -> RunConfig:
    """The configuration with the paths of what lies here made absolute, so that another folder of the same name is
    never taken for it. Names of what is not here, such as a model's on the Hub, stay. options_of: family and component
    → its options."""
    update: dict[str, Any] = {}
    for section in ORDER:
        value = getattr(config, section)
        if isinstance(value, Selected):
            options = options_of(section, value)
            if absolute := _absolute(options):
                update[section] = value.model_copy(update={"options": {**value.options, **absolute}})
        elif absolute := _absolute(value):
            update[section] = value.model_copy(update=absolute)
    chain = config.upload.chain()
    places = [_absolute(options_of("upload_filter", one)) for one in chain]
    if any(places):
        filters = [{"name": one.name, **one.options, **place} for one, place in zip(chain, places, strict=True)]
        update["upload"] = update.get("upload", config.upload).model_copy(update={"filters": filters})
    rule = config.rounds.rule()
    if place := _absolute(options_of("aggregation_rule", rule)):
        update["rounds"] = update.get("rounds", config.rounds).model_copy(
            update={"aggregation": {"name": rule.name, **rule.options, **place}}
        )
    placed = [_absolute(options_of("tracker", one)) for one in config.trackers]
    if any(placed):
        update["trackers"] = tuple(
            one.model_copy(update={"options": {**one.options, **place}})
            for one, place in zip(config.trackers, placed, strict=True)
        )
    return config.model_copy(update=update)


def _absolute(options: Options) -> dict[str, str]:
    absolute = {}
    for name in options.local_paths():
        value = getattr(options, name)
        if isinstance(value, str) and value:
            path = Path(value).expanduser()
            if str(path.absolute()) != value and path.exists():
                absolute[name] = str(path.absolute())
    return absolute
