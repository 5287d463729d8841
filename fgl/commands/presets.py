"""`fgl presets …`: the experiments that ship with fgl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._options import Json
from fgl.commands._output import say, say_columns, say_json, say_text
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.core.config.presets import Preset


def list_command(as_json: Json = False) -> None:
    """Print the experiments that ship with fgl, and whether their data and model are on this machine."""
    from fgl.core.config import presets
    from fgl.core.report.tables import Table

    manager = PluginManager.load()
    rows = [_row(manager, presets.load(name)) for name in presets.names()]
    if as_json:
        say_json({"presets": rows})
        return
    columns = ("preset", "data set", "classes", "clients", "partition", "here", "data from")
    cells = []
    for row in rows:
        here = "yes" if row["runs_here"] else f"no {' and '.join(row['missing'])}"
        cells.append((row["name"], row["title"], row["classes"], row["clients"], row["partition"], here, row["source"]))
    say_columns(Table(columns, cells, "lllllll"))
    say("what is missing: fgl presets show NAME; each of them runs on stand-in data: fgl run --preset NAME --smoke")


def show_command(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: Json = False) -> None:
    """Print a preset's file, and whether its data and model are on this machine."""
    from fgl.core.config import presets

    preset = presets.load(name, "NAME")
    row = _row(PluginManager.load(), preset)
    if as_json:
        say_json({**row, **preset.model_dump(mode="json")})
        return
    say_text((presets.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    say(f"# here: data {_yes_or_no(row['data_here'])}, model {_yes_or_no(row['model_here'])}")
    data = "" if row["data_here"] or preset.of_the_hub else " --dataset PATH"
    say(f"# look at the data: fgl datasets check --preset {name}{data}")
    say(f"# run it:           fgl run --preset {name}{data}")
    say(f"# try it, small:    fgl run --preset {name} --smoke")


def _yes_or_no(here: bool) -> str:
    return "yes" if here else "no"


def _row(manager: PluginManager, preset: Preset) -> dict[str, Any]:
    from fgl import hub
    from fgl.core.config import presets, resolve
    from fgl.hub import state

    resolved = resolve.resolve(presets.layers(preset, False, [], manager.registry), manager.registry, preset.name)
    partition = resolved.partition.options
    data = presets.is_here(preset.dataset, manager.registry)
    uses = manager.options("generator", resolved.generator).models()
    model = all(hub.is_local(use.model) or state.state(use, ask=False).cache == "all" for use in uses)
    skew = f" {partition['beta']:g}" if "beta" in partition else ""
    return {
        "name": preset.name,
        "title": preset.title,
        "classes": len(preset.classes),
        "clients": partition.get("clients") or len(preset.domains),
        "partition": f"{resolved.partition.name}{skew}",
        "source": preset.source,
        "data_here": data,
        "model_here": model,
        "runs_here": data and model,
        "missing": [name for name, here in (("data", data), ("model", model)) if not here],
    }
