"""Flags and files → one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.commands import _preset
from fgl.errors import COMMAND_LINE, ConfigError, Problem

if TYPE_CHECKING:
    from fgl.commands._options import ConfigFlags
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager

_COMPONENTS = (
    "method",
    "generator",
    "prompt_strategy",
    "aggregator",
    "classifier",
    "partition",
    "dataset",
    "algorithm",
    "federation",
    "executor",
)
"""Flags that select the component of the section of their name."""

_OPTIONS = {
    "clients": "partition",
    "beta": "partition",
    "images_per_class": "synthesis",
    "skip_bad_images": "dataset",
}
"""Flag → the section that has an option of the flag's name."""


def resolve(
    manager: PluginManager,
    flags: ConfigFlags,
    below: Sequence[dict[str, Any]] = (),
    source: str = "",
    method: str | None = None,
) -> tuple[RunConfig, set[str]]:
    """The configuration: `below` and a preset, then YAML, flags and --set, over the defaults; and the top-level keys
    that any of these sets. source: where `below` comes from, for messages. method: see `fgl.core.config.resolve`.

    Raises ConfigError with all problems of all layers."""
    from fgl.core.config import resolve as config_resolve
    from fgl.core.config.loader import read_yaml

    problems: list[Problem] = []
    files = [read_yaml(Path(flags.config))] if flags.config is not None else []
    layers = [*below, *files, flag_layer(flags, problems)]
    layers = [*_preset.layers(manager, flags, layers), *layers]
    source = source or flags.config or "the configuration"
    try:
        resolved = config_resolve.resolve(layers, manager.registry, source, method)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems], source) from None
    if problems:
        raise ConfigError(problems, COMMAND_LINE)
    return resolved, {str(key) for layer in layers for key in layer}


def configure(
    manager: PluginManager,
    flags: ConfigFlags,
    command: str,
    below: Sequence[dict[str, Any]] = (),
    method: str | None = None,
) -> tuple[RunConfig, set[str], _preset.Chosen | None]:
    """As `resolve`, for a command that takes --preset: the preset too, None where none is named.

    Raises DataError where its data is not here; command: such as "fgl run", for what to do then."""
    resolved, keys = resolve(manager, flags, below, method=method)
    chosen = _preset.choose(manager, resolved, flags, command)
    return resolved if chosen is None else chosen.config, keys, chosen


def flag_layer(flags: ConfigFlags, problems: list[Problem]) -> dict[str, Any]:
    """The flags, and --set over them, as one layer. What is wrong with an assignment is added to `problems`.

    One layer, so that `--set partition.name=iid --clients 2` selects and sets, in any order."""
    from fgl.core.config import deprecated
    from fgl.core.config.loader import expand, set_option

    given, layer = flags.given(), dict[str, Any]()
    for key in _COMPONENTS:
        if key in given:
            layer[key] = expand(key, given[key])
    for key, section in _OPTIONS.items():
        if key in given:
            layer.setdefault(section, {})[key] = given[key]
    if flags.upload_filter:
        layer["upload"] = {"filters": list(flags.upload_filter)}
    if flags.tracker:
        layer["trackers"] = list(flags.tracker)
    if flags.rounds is not None:
        layer["rounds"] = {"count": flags.rounds}
    if flags.controls is not None:
        if flags.baselines is not None:
            expected = "expected --baselines alone: --controls is its old name"
            problems.append(Problem("--controls, --baselines", "both", expected))
        deprecated.warn("--controls", "--baselines", COMMAND_LINE)
    baselines = flags.controls if flags.baselines is None else flags.baselines
    if baselines is not None:
        layer["baselines"] = baseline_names(baselines)
    layer |= {key: given[key] for key in ("seed", "device") if key in given}
    extra: dict[str, Any] = {}
    for assignment in flags.set_ or ():
        try:
            set_option(extra, assignment)
        except ConfigError as error:
            problems += error.problems
    if flags.aggregation_rule is not None:
        rule, rounds = expand("aggregation_rule", flags.aggregation_rule), extra.get("rounds")
        more = rounds.get("aggregation") if isinstance(rounds, dict) else None
        if isinstance(more, dict):  # options beside the flag
            more |= {**rule, **more}
        else:
            layer.setdefault("rounds", {})["aggregation"] = rule
    return merged(layer, deprecated.current(extra, problems, COMMAND_LINE))


def baseline_names(text: str) -> str | list[str]:
    """What --baselines says, as a configuration has it: all, none, or a list of names."""
    names = [name for part in text.strip().strip("[]").split(",") if (name := part.strip())]
    return names[0] if names in (["all"], ["none"]) else names


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both layers as one; `above` wins where both set a key."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return result
