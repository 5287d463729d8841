"""fgl from Python: the commands as functions. `import fgl` loads this module when one of them is used.

Every function takes `progress`: True and None show bars on a terminal and lines elsewhere, on stderr, as the command
line does; False shows nothing; an object with the method `track` of `fgl.contracts.progress.Progress` is used as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.progress import Announcing, NullProgress, Progress
from fgl.core import orchestrator
from fgl.core.config.loader import expand
from fgl.core.config.resolve import resolve
from fgl.core.config.saved import load_config, saved_config
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import from_json, to_json
from fgl.results import AdaptedGenerator, Audit, Comparison, MethodResult, Pair, Partition, Probe, Quality, RunResult

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.experiments.method_results import MethodRow, SeedResult


@contextmanager
def _shown(progress: Progress | bool | None) -> Iterator[Progress]:
    if progress is False:
        yield NullProgress()
    elif progress is not None and progress is not True:
        yield progress
    else:
        from rich.console import Console

        from fgl import console

        with console.progress(Console(stderr=True)) as display:
            yield display


def run(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
    replace: bool = False,
) -> RunResult:
    """Run the whole method: clients to classifier.

    Args:
        config: A mapping as in a YAML file, the path of a YAML file, a RunConfig, or None for the defaults.
        out: The run directory, by default a new one in runs/. One that holds an earlier run of the same data is
            completed: what depends on changed options is recomputed.
        progress: Where progress is shown; see the module.
        replace: Let this run replace one of other data.

    Raises FGLError.
    """
    with _shown(progress) as display:
        return RunResult(orchestrator.run(config, out, display, replace).to_dict())


def resume(folder: str | Path, progress: Progress | bool | None = None) -> RunResult:
    """Complete a run with the configuration it was started with. Raises FGLError."""
    with _shown(progress) as display:
        return RunResult(orchestrator.resume(folder, display).to_dict())


def probe(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    per_class: int = 20,
    learn_images: int = 1000,
    progress: Progress | bool | None = None,
    *,
    pool_clients: bool = False,
) -> Probe:
    """Does the generator know this domain? A few pictures of each class, judged at the simulated clients; nothing is
    written.

    Args:
        config: As for `run`; `{"features": …}` chooses the feature space.
        per_class: Pictures made of each class, and images of it that a client compares them with.
        learn_images: The most real images that a feature space which learns is trained on.
        progress: Where progress is shown; see the module.
        pool_clients: Whether such a space is trained on half of the clients' images, pooled. By default it is trained
            on the public split or, without one, on other pictures of the generator.

    Raises FGLError.
    """
    from fgl.core.experiments import probe as probe_experiment
    from fgl.core.report import outlook

    manager = PluginManager.load()
    with _shown(progress) as display:
        session = open_session(load_config(config, manager), manager, RunDir(Path("unused")), display)
        result = probe_experiment.probe(session, per_class, learn_images, pool_clients)
    whole = result.all_clients
    pairs = {name: Pair(whole.made.of(name), whole.real.of(name)) for name in ("coverage", "density", "nearest")}
    level = outlook.level(result)
    return Probe(
        data={**to_json(result), "outlook": level},
        outlook=level,
        recognized=whole.recognized,
        chance=result.chance,
        coverage=pairs["coverage"],
        density=pairs["density"],
        distance=pairs["nearest"],
    )


def adapt(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    out: str | Path = "runs/adapted",
    progress: Progress | bool | None = None,
    replace: bool = False,
    **options: Any,
) -> AdaptedGenerator:
    """Adapt a generator to images of a domain that it does not know, or resume.

    Args:
        config: As for `run`: the dataset to learn from, the generator, and the prompt strategy that writes captions.
        out: Folder of the result; an adaptation of the same data and settings in it is resumed.
        progress: Where progress is shown; see the module.
        replace: Let this adaptation replace another one.
        options: Options of the configuration's section `adaptation`, for example kind, rank or steps.

    Raises FGLError.
    """
    from fgl.core.experiments import adapt as adapt_experiment

    manager = PluginManager.load()
    resolved = load_config(config, manager)
    if options:
        resolved = resolve([resolved.to_dict(), {"adaptation": options}], manager.registry, "the arguments")
    store = RunDir(Path(out).expanduser(), "adapted")
    with _shown(progress) as display:
        result = adapt_experiment.adapt(resolved, manager, store, display, replace)
    tied = manager.registry.find("generator", result.generator).component.tied_defaults.get(result.option, ())
    kept = {name: value for name, value in resolved.generator.options.items() if name not in tied}
    chosen = {"name": result.generator, **kept, result.option: result.path}
    return AdaptedGenerator(
        data=to_json(result),
        folder=store.root,
        generator=chosen,
        steps=result.steps,
        held_out_loss=result.first_and_kept(),
    )


def quality(
    folder: str | Path,
    features: str | Mapping[str, Any] | None = None,
    real: str | None = None,
    progress: Progress | bool | None = None,
) -> Quality:
    """Compare the synthetic set of a run with real images; the figures enter the run's report too.

    Args:
        folder: The run directory.
        features: The feature space: trained, dinov2, pixels, a Hub id, a folder, or a mapping with options. None: as in
            the run's configuration.
        real: The real images: train, public or test. None: as in the run's configuration.
        progress: Where progress is shown; see the module.

    Raises FGLError.
    """
    from fgl.core.report.figures import Quality as QualityFigures
    from fgl.core.stages import measured
    from fgl.core.store.folder_kind import has_remote_clients

    manager, run_dir = PluginManager.load(), RunDir(Path(folder))
    saved = saved_config(run_dir, manager)
    layer: dict[str, Any] = {"evaluation": {"quality": True, "at_clients": False}}
    if real is not None:
        layer["evaluation"]["real"] = real
    resolved = resolve([saved.to_dict(), {**layer, **_features(features)}], manager.registry, "the arguments")
    with _shown(progress) as display, run_dir.lock():
        session = open_session(resolved, manager, run_dir, display, remote_clients=has_remote_clients(run_dir))
        result = measured.quality_of(session, saved)
    figures = from_json(QualityFigures, result)
    both = figures.overall
    pairs = {
        name: Pair(both.synthetic.of(name), both.held_out.of(name))
        for name in ("coverage", "density", "precision", "recall", "fid", "kid")
    }
    return Quality(data=result, folder=run_dir.path("quality"), closer=figures.nearest.closer, **pairs)


def audit(
    folder: str | Path,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    features: str | Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
    **options: Any,
) -> Audit:
    """Attack a finished run: membership inference, memorized images, and what uploads reveal.

    Args:
        folder: The run directory.
        parts: Some of membership, memorization and uploads; by default all that the run allows.
        methods: Whose classifiers are attacked: fgl, centralized, a federated algorithm; by default as in the run's
            configuration.
        features: The feature space of nearest neighbors, as for `quality`.
        progress: Where progress is shown; see the module.
        options: Other options of the configuration's section `audit`, for example shadows or rounds.

    Raises FGLError.
    """
    from importlib.util import find_spec

    from fgl.core.privacy import audit as privacy_audit
    from fgl.core.store.folder_kind import has_remote_clients

    manager, run_dir = PluginManager.load(), RunDir(Path(folder))
    saved = saved_config(run_dir, manager)
    given = {**options, "parts": parts, "methods": methods}
    layer = {
        "audit": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }
    }
    resolved = resolve([saved.to_dict(), {**layer, **_features(features)}], manager.registry, "the arguments")
    with _shown(progress) as display, run_dir.lock():
        session = open_session(resolved, manager, run_dir, display, remote_clients=has_remote_clients(run_dir))
        found = privacy_audit.run(session, saved)
        if found.membership is not None and find_spec("matplotlib") is not None:
            from fgl.plots.roc import save_membership

            save_membership(run_dir.path("audit"), found.membership, run_dir.write)
    data = to_json(found)
    return Audit(
        data=data,
        folder=run_dir.path("audit"),
        membership=data["membership"],
        memorization=data["memorization"],
        uploads=data["uploads"],
        left_out=found.left_out,
    )


def compare(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None,
    methods: Sequence[str] = ("fgl", "fedavg", "local", "centralized", "class-list"),
    seeds: int = 3,
    first_seed: int = 0,
    rounds: int = 200,
    out: str | Path = "runs/compare",
    progress: Progress | bool | None = None,
    replace: bool = False,
) -> Comparison:
    """Compare methods on the same split, model, seeds and test images. Figures are drawn if matplotlib is installed.

    Args:
        config: As for `run`.
        methods: As for `fgl compare`.
        seeds: Number of seeds.
        first_seed: The first of them; the others follow it.
        rounds: Communication rounds of the federated algorithms.
        out: Folder of runs and results; finished runs in it are reused.
        progress: Where progress is shown; see the module.
        replace: Let these results replace others.

    Raises FGLError.
    """
    from importlib.util import find_spec

    from fgl.core.config.paths import located
    from fgl.core.experiments import comparison
    from fgl.core.experiments import folder as folder_experiment
    from fgl.core.experiments.methods import Method, parse

    manager, folder = PluginManager.load(), Path(out).expanduser()
    store, chosen = RunDir(folder, "compare"), range(first_seed, first_seed + seeds)
    resolved = load_config(config, manager)
    wanted = parse(list(methods), rounds, manager, resolved, lambda method: load_config(config, manager, method))
    results: dict[int, dict[str, SeedResult]] = {}
    settings, names = {"": located(resolved, manager.options)}, [method.name for method in wanted]
    with _shown(progress) as display, folder_experiment.opened(store, settings, names, chosen, replace):
        for seed in chosen:

            def announce(method: Method, seed: int = seed) -> None:
                if isinstance(display, Announcing):
                    display.heading(f"seed {seed}: {method.title}")

            of_seed = resolved.model_copy(update={"seed": seed})
            results[seed] = comparison.run_seed(
                of_seed, wanted, manager, store.nested(f"seed-{seed}"), display, announce
            )
        summary = comparison.write(store, resolved, manager, wanted, results, comparison.test_set(resolved, manager))
        if find_spec("matplotlib") is not None:
            from fgl.plots.comparisons import save_comparison

            what = f"{summary.dataset}, {seeds} seed{'s' * (seeds > 1)}"
            titles = {method.name: method.title for method in wanted}
            save_comparison(folder, titles, to_json(results), what, write=store.write)
    return Comparison(
        data=to_json(summary), folder=folder, methods={row.method: _method(row) for row in summary.methods}
    )


def _method(row: MethodRow) -> MethodResult:
    difference = row.difference
    minus = None
    if difference is not None:
        low, high = difference.low, difference.high
        minus = (-difference.mean, None if high is None else -high, None if low is None else -low)
    return MethodResult(
        name=row.method,
        title=row.title,
        top1=(row.top1.mean, row.top1.std),
        fgl_minus_this=minus,
        bytes_sent=row.bytes,
        seconds=row.seconds,
    )


def partition(
    config: RunConfig | Mapping[str, Any] | str | Path | None = None, progress: Progress | bool | None = None
) -> Partition:
    """How many images of each class every simulated client would hold; nothing is run. Raises FGLError."""
    from fgl.core.experiments.dataset_check import divide

    manager = PluginManager.load()
    with _shown(progress) as display:
        result = divide(load_config(config, manager), manager, display)
    names = result["class_names"]
    samples = {client: dict(zip(names, row, strict=True)) for client, row in result["samples"].items()}
    return Partition(data=result, class_names=tuple(names), samples=samples, domains=result["domains"])


def _features(features: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if features is None:
        return {}
    return {"features": expand("features", features) if isinstance(features, str) else dict(features)}
