"""What `fgl compare` and `fgl sweep` share: methods, each run with several seeds, in one folder of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._options import home
from fgl.commands._output import note

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress
    from fgl.core.config.schema import RunConfig
    from fgl.core.experiments.method_results import SeedResult
    from fgl.core.experiments.methods import Method
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.store.run_dir import RunDir

Methods = Annotated[
    str,
    typer.Option(
        metavar="A,B,…",
        help="fgl, fgl-Nround, fgl-Nround-tuned, a method (fgl plugins list --family method), a federated algorithm, "
        "local, centralized, class-list.",
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


@dataclass(frozen=True, slots=True)
class Repeated:
    """Methods that are run once for each seed."""

    manager: PluginManager
    methods: Sequence[Method]
    seeds: range
    store: RunDir
    """Holds the runs and the results."""
    quiet: bool
    """Whether nothing is said meanwhile."""

    @property
    def titles(self) -> dict[str, str]:
        """Method → what a reader calls it, in order."""
        return {method.name: method.title for method in self.methods}

    @contextmanager
    def opened(self, settings: Mapping[str, RunConfig], replace: bool) -> Iterator[Progress]:
        """Hold the folder, say what the work will cost, and yield where its progress goes.

        settings: name → configuration of each setting of a sweep; of a comparison one without a name. replace: whether
        other results make way."""
        from fgl.core.config.paths import located
        from fgl.core.experiments import folder

        with_paths = {name: located(config, self.manager.options) for name, config in settings.items()}
        held = folder.opened(self.store, with_paths, list(self.titles), self.seeds, replace)
        with stdout_to_stderr(), interruptible(self.store.root), shown(self.quiet) as progress, held as warning:
            if warning and not self.quiet:
                note(f"note: {warning}", "yellow")
            self._say_cost(list(settings.values()))
            yield progress

    def run(
        self, config: RunConfig, progress: Progress, folder: str = "", prefix: str = ""
    ) -> dict[int, dict[str, SeedResult]]:
        """Seed → the results of its methods, each in a run directory of its own.

        folder: of the runs, in the store. prefix: of the lines that announce a method."""
        from fgl.core.experiments import comparison, costs

        expected = {} if self.quiet else costs.of_seed(config, self.methods, costs.data_of(config, self.manager))
        results: dict[int, dict[str, SeedResult]] = {}
        for seed in self.seeds:

            def announce(method: Method, seed: int = seed) -> None:
                if not self.quiet:
                    seconds = costs.pace(self.store.path(folder)).seconds(expected[method.name])
                    time = f", about {costs.duration(seconds)} if none of it is done" if seconds else ""
                    note(f"{prefix}seed {seed}: {method.title}{time}")

            of_seed = config.model_copy(update={"seed": seed})
            run = self.store.nested(*filter(None, (folder, f"seed-{seed}")))
            results[seed] = comparison.run_seed(of_seed, self.methods, self.manager, run, progress, announce)
        return results

    def _say_cost(self, configs: Sequence[RunConfig]) -> None:
        from fgl.core.experiments import costs

        if self.quiet:
            return
        data = costs.data_of(configs[0], self.manager)
        by_config = [costs.of_seed(config, self.methods, data) for config in configs]
        rows = [
            (method.title, costs.total(of_methods[method.name] for of_methods in by_config)) for method in self.methods
        ]
        for line in costs.lines(rows, len(self.seeds), len(configs), data, costs.pace(self.store.root)):
            note(line)


def method_names(text: str) -> list[str]:
    """What --methods says."""
    return text.replace(" ", "").split(",")
