"""`fgl compare`: methods side by side over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import check_folder
from fgl.commands._options import ConfigFlags, Json, Quiet, Replace, config_flags
from fgl.commands._output import say, say_json, say_table
from fgl.commands._seeds import FederatedRounds, FirstSeed, Folder, Methods, Repeated, Seeds, method_names
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.experiments.method_results import Summary


METHODS = "fgl,fgl-5round,fedavg,fedprox,scaffold,fedadam,local,centralized,class-list"
WIDTH = 180
"""Columns of a table of results where stdout is no terminal."""


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
    from fgl.core.experiments import comparison
    from fgl.core.experiments.methods import parse
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json

    plots.need("fgl compare")
    from fgl.plots.comparisons import save_comparison

    manager = PluginManager.load()
    resolved, _, chosen = configure(manager, flags, "fgl compare")

    def configured(method: str) -> RunConfig:
        return configure(manager, flags, "fgl compare", method=method)[0]

    selected = parse(method_names(methods), rounds, manager, resolved, configured)
    check_folder("--out", out)
    seed_range = range(first_seed, first_seed + seeds)
    repeated = Repeated(manager, selected, seed_range, RunDir(out, "compare"), quiet)
    with _preset.explained(chosen, "fgl compare"), repeated.opened({"": resolved}, replace) as progress:
        results = repeated.run(resolved, progress)
        test_set = comparison.test_set(resolved, manager)
        summary = comparison.write(repeated.store, resolved, manager, selected, results, test_set)
        what = f"{summary.dataset}, {seeds} seed{'s' * (seeds > 1)}"
        save_comparison(out, repeated.titles, to_json(results), what, write=repeated.store.write)
    if as_json:
        say_json(to_json(summary))
    elif not quiet:
        _show(summary, out)


def _show(summary: Summary, out: Path) -> None:
    from fgl.core.experiments.method_results import few_seeds, results_table, verdict
    from fgl.core.report import metrics

    say_table(results_table(summary), WIDTH)
    say(metrics.scale(summary.test_set))
    for caution in filter(None, (verdict(summary), few_seeds(summary.seeds))):
        say(caution)
    say(f"results: {out}/compare.md, {out}/compare.json")
    say(f"figures: {out}/accuracy-rounds.png, {out}/accuracy-bytes.png, and .svg")
