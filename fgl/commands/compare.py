"""`fgl compare`: methods side by side over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import check_folder, interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, Replace, config_flags, home
from fgl.commands._output import note, say, say_json, say_table
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress
    from fgl.core.config.schema import RunConfig
    from fgl.core.experiments.comparison import Method
    from fgl.core.report.tables import Table
    from fgl.core.store.run_dir import RunDir


METHODS = "fgl,fgl-5round,fedavg,fedprox,scaffold,fedadam,local,centralized,class-list"
Methods = Annotated[
    str,
    typer.Option(
        metavar="A,B,…",
        help="fgl, fgl-Nround, fgl-Nround-tuned, a federated algorithm, local, centralized, class-list.",
    ),
]
Seeds = Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Number of seeds.")]
FirstSeed = Annotated[int, typer.Option(metavar="S", min=0, help="The first seed.")]
FederatedRounds = Annotated[
    int, typer.Option(metavar="N", min=1, max=100_000, help="Rounds of the federated algorithms.")
]
Folder = Annotated[
    Path, typer.Option(metavar="DIR", callback=home, help="Folder of runs and results; finished runs in it are reused.")
]


@config_flags(without=("rounds", "baselines", "controls", "seed"))
def compare_command(
    *,
    methods: Methods = METHODS,
    seeds: Seeds = 3,
    first_seed: FirstSeed = 0,
    rounds: FederatedRounds = 200,
    flags: ConfigFlags,
    out: Folder = Path("runs/compare"),
    replace: Replace = False,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Compare methods on the same split, model, seeds and test images: a table and two figures."""
    from fgl import plots
    from fgl.core.config.paths import located
    from fgl.core.experiments import comparison
    from fgl.core.experiments import folder as folder_experiment
    from fgl.core.store.run_dir import RunDir

    plots.need("fgl compare")
    from fgl.plots.comparisons import save_comparison

    manager = PluginManager.load()
    resolved, _, chosen = configure(manager, flags, "fgl compare")
    wanted = comparison.parse(methods.replace(" ", "").split(","), rounds, manager, resolved)
    check_folder("--out", out)
    store, chosen_seeds = RunDir(out, "compare"), range(first_seed, first_seed + seeds)
    settings = {"": located(resolved, manager.options)}
    names = [method.name for method in wanted]
    with (
        stdout_to_stderr(),
        interruptible(out),
        shown(quiet) as progress,
        _preset.explained(chosen, "fgl compare"),
        folder_experiment.opened(store, settings, names, chosen_seeds, replace) as note,
    ):
        _note(note, quiet)
        _estimate([resolved], wanted, manager, seeds, out, quiet)
        found = _over_seeds(resolved, wanted, manager, store, "", chosen_seeds, progress, quiet)
        summary = comparison.write(store, resolved, manager, wanted, found, comparison.test_set(resolved, manager))
        what = f"{summary['dataset']}, {seeds} seed{'s' * (seeds > 1)}"
        save_comparison(out, {method.name: method.title for method in wanted}, found, what, write=store.write)
    _show(summary, out, as_json, quiet)


def _note(text: str, quiet: bool) -> None:
    if text and not quiet:
        note(f"note: {text}", "yellow")


def _estimate(
    configs: Sequence[RunConfig], methods: Sequence[Method], manager: PluginManager, seeds: int, out: Path, quiet: bool
) -> None:
    """Say what it will cost before it starts. configs: of each setting; one of a comparison."""
    from fgl.core.experiments import costs

    if quiet:
        return
    data = costs.data_of(configs[0], manager)
    each = [costs.of_seed(config, methods, data) for config in configs]
    rows = [(method.title, costs.total(one[method.name] for one in each)) for method in methods]
    for line in costs.lines(rows, seeds, len(configs), data, costs.pace(out)):
        note(line)


def _over_seeds(
    config: RunConfig,
    methods: Sequence[Method],
    manager: PluginManager,
    store: RunDir,
    folder: str,
    seeds: range,
    progress: Progress,
    quiet: bool,
    before: str = "",
) -> dict[int, Any]:
    """Seed → its results, each in a run directory of its own below `folder` in `store`. before: what a line of progress
    begins with."""
    from fgl.core.experiments import comparison, costs

    expected = {} if quiet else costs.of_seed(config, methods, costs.data_of(config, manager))
    found: dict[int, Any] = {}
    for seed in seeds:

        def announce(method: Method, seed: int = seed) -> None:
            if not quiet:
                seconds = costs.pace(store.path(folder)).seconds(expected[method.name])
                time = f", about {costs.duration(seconds)} if none of it is done" if seconds else ""
                note(f"{before}seed {seed}: {method.title}{time}")

        one = config.model_copy(update={"seed": seed})
        run = store.nested(*filter(None, (folder, f"seed-{seed}")))
        found[seed] = comparison.run_seed(one, methods, manager, run, progress, announce)
    return found


def _show(summary: dict[str, Any], out: Path, as_json: bool, quiet: bool) -> None:
    if as_json:
        say_json(summary)
    elif not quiet:
        from fgl.core.experiments import comparison
        from fgl.core.report import metrics
        from fgl.core.report.scores import ChanceLevels
        from fgl.core.store.typed import from_json

        lines = [
            metrics.scale(from_json(ChanceLevels, summary["test_set"])),
            *(line for line in (comparison.few_seeds(summary["seeds"]),) if line),
            f"results: {out}/compare.md, {out}/compare.json",
            f"figures: {out}/accuracy-rounds.png, {out}/accuracy-bytes.png, and .svg",
        ]
        _print(comparison.results_table(summary), lines)


def _print(table: Table, lines: Sequence[str]) -> None:
    say_table(table, 160)
    for line in lines:
        say(line)
