"""`fgl datasets check`: is the data what a run, or a preset, expects?"""

from __future__ import annotations

from typing import Any

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, config_flags
from fgl.commands._output import say, say_columns, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import DataError
from fgl.text import plain

_COMMAND = "fgl datasets check"
_SIZES = 5
"""Kinds or sizes of images that are listed."""


@config_flags("config", "preset", "dataset", "set_")
def check_command(flags: ConfigFlags, *, as_json: Json = False, quiet: Quiet = False) -> None:
    """Open the data and count it: splits, classes, domains, sizes; name broken images, duplicates and files that are
    ignored. Exit code 0 only if it fits."""
    from fgl.core.experiments.dataset_check import survey

    manager = PluginManager.load()
    resolved, keys, chosen = configure(manager, flags, _COMMAND)
    with stdout_to_stderr(), shown(quiet or as_json) as progress, _preset.explained(chosen, _COMMAND):
        divided = "partition" in keys or chosen is not None
        result = survey(resolved, manager, None if chosen is None else chosen.preset, progress, divided)
    if as_json:
        say_json(result)
    elif not quiet:
        _print(result)
    if not result["fits"]:
        what = f"the preset {flags.preset}" if flags.preset else "a run"
        raise DataError("\n".join([f"the data does not fit {what}:", *(f"  {text}" for text in result["problems"])]))
    if not quiet and not as_json:
        count = len(result["warnings"])
        but = f"; look at the {'warning' if count == 1 else f'{count} warnings'} above" if count else ""
        both = ", and every class is in both splits" if {"train", "test"} <= set(result["splits"]) else ""
        say((f"it fits the preset {flags.preset}" if flags.preset else f"it can be read{both}") + but)


def _print(result: dict[str, Any]) -> None:
    from fgl.core.report.tables import Table

    splits, preset = result["splits"], result["preset"]
    about = result["dataset"]
    say(f"dataset   {plain(about['name'])} ({about['kind']}), {plain(about['source'])}")
    of_preset = f"; of the preset: {preset['license']}" if preset is not None else ""
    say(f"license   {plain(result['license'])}{of_preset}")
    say("images    " + ", ".join(f"{name} {split['images']:,}" for name, split in splits.items()))
    say(f"kinds     {_listed(result['kinds'])}")
    say(f"sizes     {_listed(result['sizes'])}")
    say(f"broken    {len(result['unreadable'])}")
    say()
    which = "train" if "train" in splits else "test"  # a server may hold test images only
    domains = [domain for domain in result["domains"] if "by_domain" in splits[which]]
    columns = ("class", *splits, *(f"{which}:{domain}" for domain in domains))
    rows = []
    for name in result["class_names"]:
        counts = [split["by_class"][name] for split in splits.values()]
        counts += [splits[which]["by_domain"][domain][name] for domain in domains]
        rows.append([name, *(f"{count:,}" for count in counts)])
    say_columns(Table(columns, rows))
    say()
    for warning in result["warnings"]:
        say(f"warning: {plain(warning)}")
    if result["warnings"]:
        say()


def _listed(counts: dict[str, int]) -> str:
    named = [f"{name} {count:,}" for name, count in list(counts.items())[:_SIZES]]
    rest = len(counts) - _SIZES
    return ", ".join(named) + (f", and {rest:,} others" if rest > 0 else "")
