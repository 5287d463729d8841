"""`fgl sweep`: methods over the values of options, with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._config import configure
from fgl.commands._console import check_folder
from fgl.commands._options import ConfigFlags, Json, Quiet, Replace, config_flags
from fgl.commands._output import say, say_json, say_table
from fgl.commands._seeds import FederatedRounds, FirstSeed, Folder, Methods, Repeated, Seeds, method_names
from fgl.commands._threads import Threads
from fgl.commands.compare import WIDTH
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.experiments.sweep import Cell


@config_flags(without=("rounds", "baselines", "controls", "seed"))
def sweep_command(
    *,
    ablation: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the paper's ablations; --ablation list shows them.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="family.option=A,B,…", help="Values of an option; repeatable, for a grid of several options."
        ),
    ] = None,
    methods: Methods = "fgl",
    seeds: Seeds = 3,
    first_seed: FirstSeed = 0,
    rounds: FederatedRounds = 200,
    flags: ConfigFlags,
    out: Folder = Path("runs/sweep"),
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Run methods over the values of one or more options: a table and a figure."""
    from fgl import plots
    from fgl.core.experiments import comparison, sweep
    from fgl.core.experiments.methods import parse
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json

    if ablation == "list":
        for name, known in sweep.ablations().items():
            say(f"{name:<20} {known.title} ({len(known.cells)} settings)")
        return
    plots.need("fgl sweep")
    from fgl.plots.comparisons import save_sweep

    manager = PluginManager.load()
    cells = sweep.cells(ablation, over or ())
    settings = _resolved(manager, flags, cells)  # every setting is checked before the first is run
    selected = {
        cell.name: parse(method_names(methods), rounds, manager, resolved, _configured(manager, flags, cell))
        for cell, resolved in settings
    }
    first = selected[cells[0].name]
    check_folder("--out", out)
    seed_range = range(first_seed, first_seed + seeds)
    repeated = Repeated(manager, first, seed_range, RunDir(out, "sweep"), quiet)
    rows = []
    with repeated.opened({cell.name: resolved for cell, resolved in settings}, replace) as progress:
        for cell, resolved in settings:
            of_cell = replace_fields(repeated, methods=selected[cell.name])
            results = of_cell.run(resolved, progress, cell.folder, f"{cell.name}, ")
            rows.append(
                sweep.SettingRow(
                    setting=cell.name,
                    values=cell.values,
                    seeds=results,
                    test_set=comparison.test_set(resolved, manager),
                    methods=comparison.summarize(selected[cell.name], results),
                )
            )
        summary = sweep.write(repeated.store, cells, rows)
        save_sweep([out / "sweep.png", out / "sweep.svg"], repeated.titles, to_json(rows), repeated.store.write)
    if as_json:
        say_json(summary)
    elif not quiet:
        say_table(sweep.results_table(rows), WIDTH)
        for line in (*sweep.scales(rows), *(f"note: {line}" for line in sweep.unmoved(rows))):
            say(line)
        say(f"results: {out}/sweep.md, {out}/sweep.json")
        say(f"figure:  {out}/sweep.png, .svg")


def _configured(manager: PluginManager, flags: ConfigFlags, cell: Cell) -> Callable[[str], RunConfig]:
    """Name of a method that is a component → the configuration of a setting with it."""
    return lambda method: _of_cell(manager, flags, cell, method)


def _of_cell(manager: PluginManager, flags: ConfigFlags, cell: Cell, method: str | None = None) -> RunConfig:
    given = replace_fields(flags, set_=[*(flags.set_ or ()), *cell.assignments])
    return configure(manager, given, "fgl sweep", [dict(cell.layer)] if cell.layer else [], method)[0]


def _resolved(manager: PluginManager, flags: ConfigFlags, cells: Sequence[Cell]) -> list[tuple[Cell, RunConfig]]:
    """The configuration of each setting. Raises ConfigError where one is wrong, or two are the same."""
    from fgl.core.experiments import sweep

    settings = [(cell, _of_cell(manager, flags, cell)) for cell in cells]
    sweep.check_different(settings)
    return settings
