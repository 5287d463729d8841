"""`fgl sweep`: options one after the other, over several seeds."""

from __future__ import annotations

from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Annotated

import typer

from fgl.commands._config import configure
from fgl.commands._console import check_folder, interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, Replace, config_flags
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.commands.compare import (
    FederatedRounds,
    FirstSeed,
    Folder,
    Methods,
    Seeds,
    _estimate,
    _note,
    _over_seeds,
    _print,
)
from fgl.core.plugin_manager import PluginManager


@config_flags(without=("rounds", "baselines", "controls", "seed"))
def sweep_command(
    *,
    ablation: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the paper's ablations; --ablation list shows them.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="family.option=A,B,…", help="Values of an option; repeat it for a grid of several options."
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
    from fgl.core.config.paths import located
    from fgl.core.experiments import comparison, folder, sweep
    from fgl.core.store.run_dir import RunDir

    if ablation == "list":
        for name, known in sweep.ablations().items():
            say(f"{name:<20} {known.title} ({len(known.cells)} settings)")
        return
    plots.need("fgl sweep")
    from fgl.plots.comparisons import save_sweep

    manager = PluginManager.load()
    cells = sweep.cells(ablation, over or ())
    # every cell is checked before the first is run
    ready = []
    for cell in cells:
        of_cell = replace_fields(flags, set_=[*(flags.set_ or ()), *cell.assignments])
        resolved, _, _ = configure(manager, of_cell, "fgl sweep", [dict(cell.layer)] if cell.layer else [])
        ready.append((cell, resolved))
    sweep.check_different(ready)
    wanted = comparison.parse(methods.replace(" ", "").split(","), rounds, manager, ready[0][1])
    check_folder("--out", out)
    store, chosen_seeds = RunDir(out, "sweep"), range(first_seed, first_seed + seeds)
    settings = {cell.name: located(resolved, manager.options) for cell, resolved in ready}
    names = [method.name for method in wanted]
    rows = []
    with (
        stdout_to_stderr(),
        interruptible(out),
        shown(quiet) as progress,
        folder.opened(store, settings, names, chosen_seeds, replace) as note,
    ):
        _note(note, quiet)
        _estimate([resolved for _, resolved in ready], wanted, manager, seeds, out, quiet)
        for cell, resolved in ready:
            before = f"{cell.name}, "
            found = _over_seeds(resolved, wanted, manager, store, cell.folder, chosen_seeds, progress, quiet, before)
            rows.append(
                {
                    "setting": cell.name,
                    "values": cell.values,
                    "seeds": found,
                    "test_set": comparison.test_set(resolved, manager),
                    "methods": comparison.summarize(wanted, found),
                }
            )
        summary = sweep.write(store, cells, rows)
        paths = [out / "sweep.png", out / "sweep.svg"]
        save_sweep(paths, {one.name: one.title for one in wanted}, rows, store.write)
    if as_json:
        say_json(summary)
    elif not quiet:
        lines = [f"results: {out}/sweep.md, {out}/sweep.json", f"figure:  {out}/sweep.png, .svg"]
        notes = [*sweep.scales(rows), *(f"note: {line}" for line in sweep.unmoved(rows))]
        _print(sweep.results_table(rows), [*notes, *lines])
