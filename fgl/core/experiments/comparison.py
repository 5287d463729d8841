"""Methods side by side: one split, one model, the same seeds and test images, whatever is compared.

A seed is a run directory, a method some of its stages: a second comparison in the same folder reuses what is there, and
one with more rounds resumes what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import outputs
from fgl.core.baselines import BASELINES, compared
from fgl.core.config import short_forms
from fgl.core.config.saved import save_config
from fgl.core.config.schema import RoundsOptions, RunConfig
from fgl.core.experiments.method_results import MethodRow, Point, SeedResult, Spread, Summary, markdown
from fgl.core.experiments.methods import FGL, LOCAL, SERVER_EPOCHS, Method
from fgl.core.orchestrator import execute
from fgl.core.preflight import open_session
from fgl.core.report import metrics
from fgl.core.report.intervals import student
from fgl.core.report.scores import ChanceLevels
from fgl.core.server import removed
from fgl.core.stages import (
    adaptation,
    clients,
    evaluate,
    partition,
    pipeline,
    rounds,
    rounds_spec,
    run_report,
)
from fgl.core.stages.stage import Done
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import to_json
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.session import Session


_ONE_SHOT = "evaluate"
"""The last stage of the one-shot model."""


@dataclass(frozen=True, slots=True)
class OneShot:
    """The run up to the one-shot model."""

    scores: evaluate.EvaluateResult
    top1: float
    """Of the selected model."""
    bytes: int
    """Of all uploads."""
    seconds: float
    """Of all stages that it took."""
    bytes_up: int
    """Of uploads and adapters."""
    client_seconds: float
    """Of one client, on average."""


@dataclass(slots=True)
class _Base:
    """What the methods of one seed share, computed when the first of them needs it."""

    session: Session
    done: Done

    @property
    def divided(self) -> Mapping[str, list[int]]:
        return partition.divided(self.session, self.done)

    @property
    def partition_digest(self) -> str:
        return self.done.made(partition.STAGE)

    def one_shot(self) -> OneShot:
        pipeline.run(self.session, _ONE_SHOT, self.done)
        scores, adapted = self.done[evaluate.STAGE], self.done.get(adaptation.STAGE)
        return OneShot(
            scores=scores,
            top1=scores.selected["top1"],
            bytes=self.done[clients.STAGE].bytes_total + adaptation.bytes_sent(self.done),
            seconds=sum(self.session.seconds[stage.name] for stage in pipeline.upto(self.session, _ONE_SHOT)),
            bytes_up=self.done[clients.STAGE].bytes_total + (0 if adapted is None else adapted.bytes_up),
            client_seconds=_each(self.session, self.done[clients.STAGE].bytes_per_client)
            + sum(entry["seconds"] / max(1, len(entry["clients"])) for entry in (adapted.rounds if adapted else ())),
        )


def _each(session: Session, bytes_per_client: Mapping[str, int]) -> float:
    """Seconds that an upload took a client, on average."""
    return session.seconds[clients.STAGE.name] / max(1, len(bytes_per_client))


def run_seed(
    config: RunConfig,
    methods: Sequence[Method],
    manager: PluginManager,
    run: RunDir,
    progress: Progress,
    announce: Callable[[Method], None],
) -> dict[str, SeedResult]:
    """Method → its result for the configuration's seed, computed or reused, in a run directory of its own. Raises
    FGLError."""
    plain = config.model_copy(update={"baselines": (), "all_baselines": False})
    outputs.check(run)
    trained = [method.name for method in methods if method.config is None and method.rounds]
    if config.rounds.privacy is not None and trained:
        expected = f"expected none beside {', '.join(trained)}: what a comparison trains has no statement of privacy"
        raise ConfigError([Problem("rounds.privacy", "a price", expected)], "the configuration")
    session = open_session(plain, manager, run, progress)
    with session.run.lock():
        save_config(session.run, session.config)
        removed.refresh(session)
        run_report.save_environment(session)
        runs = {method.name: _own_run(session, method.config) for method in methods if method.config is not None}
        base = _Base(session, pipeline.run(session, "partition"))
        rounds.check(session, partition.client_ids(session, base.done))
        results = {}
        for method in methods:
            announce(method)
            results[method.name] = _of_run(runs[method.name]) if method.name in runs else _result(base, method)
        session.run.write_json(session.run.path("methods.json"), to_json(results))
        return results


def _result(base: _Base, method: Method) -> SeedResult:
    """Run the method, or reuse what is done of it. Raises FGLError."""
    session = base.session
    if method.name == FGL:
        shot = base.one_shot()
        point = (1, shot.top1, shot.bytes)
        return SeedResult(
            top1=shot.top1,
            bytes=shot.bytes,
            seconds=shot.seconds,
            curve=[point],
            bytes_up=shot.bytes_up,
            client_seconds=shot.client_seconds,
        )
    if method.name in compared() and method.name != LOCAL:
        baseline = BASELINES[method.name]
        before_it = base.one_shot().seconds if baseline.after_one_shot else 0.0
        row = baseline.call("make", session, base.done)[method.name]
        sent = None if baseline.needs_clients == "images" else row["bytes"]
        return SeedResult(top1=row["top1"], bytes=row["bytes"], seconds=before_it + row["seconds"], bytes_up=sent)
    track, start, before = _track(base, method)
    lost = rounds.discarded(session, track, rounds.inputs_of(session, track, base.partition_digest, start))
    if lost:
        count = str(track.options.count)
        expected = f"fewer would discard the {lost} in {session.run.root}; expected {lost} or more, or another --out"
        raise ConfigError([Problem(f"rounds of {method.name}", count, expected)], "the command line")
    result = rounds.run(session, track, base.divided, base.partition_digest, start)
    if method.name == LOCAL:
        mean = metrics.mean_of(list(result.rounds[0]["local"].values()))
        each = session.seconds[track.stage] / max(1, len(result.rounds[0]["clients"]))
        return SeedResult(
            top1=mean["top1"], bytes=0, seconds=session.seconds[track.stage], bytes_up=0, client_seconds=each
        )
    shot_bytes, seconds, shift = before
    up, each = (base.one_shot().bytes_up, base.one_shot().client_seconds) if shift else (0, 0.0)
    curve: list[Point] = []
    sent = shot_bytes
    if shift:
        curve.append((1, base.one_shot().top1, sent))
    if result.start is not None:  # what the choice took comes before what it chose
        sent += result.start.bytes.up + result.start.bytes.down
        up += result.start.bytes.up
    for entry in result.rounds:
        sent += entry["bytes_up"] + entry["bytes_down"]
        up += entry["bytes_up"]
        each += entry["seconds"] / max(1, len(entry["clients"]))
        if entry["top1"] is not None:
            curve.append((entry["round"] + shift, entry["top1"], sent))
    return SeedResult(
        top1=result.score["top1"],
        bytes=sent,
        seconds=seconds + session.seconds[track.stage],
        curve=curve,
        bytes_up=up,
        client_seconds=each,
    )


def _own_run(beside: Session, config: RunConfig) -> Session:
    """A run of a method that is a component, in a directory of its own below the seed's.

    All are opened before the first method runs. Raises FGLError where the parts of one do not fit each other or the
    data."""
    changes = {"seed": beside.config.seed, "baselines": (), "all_baselines": False}
    folder = beside.run.nested("methods", config.method.name)
    return open_session(config.model_copy(update=changes), beside.manager, folder, beside.progress, beside)


def _of_run(session: Session) -> SeedResult:
    """Do what is not done yet of a method's own run."""
    with session.run.lock():
        report = execute(session, part_of_another=True)
    sent = report.upload.bytes_total
    seconds, top1 = round(sum(report.seconds.values()), 2), report.result.selected.top1
    up, each = sent, _each(session, report.upload.bytes_per_client)
    if report.adaptation is not None:
        sent += report.adaptation.bytes_up + report.adaptation.bytes_down
        up += report.adaptation.bytes_up
        each += sum(entry.seconds / max(1, len(entry.clients)) for entry in report.adaptation.rounds)
    one_shot = report.result.one_shot
    curve: list[Point] = [(1, top1 if one_shot is None else one_shot.selected.top1, sent)]
    if report.rounds is not None and report.rounds.start is not None:
        sent += report.rounds.start.bytes.up + report.rounds.start.bytes.down
        up += report.rounds.start.bytes.up
    for entry in () if report.rounds is None else report.rounds.rounds:
        sent += entry.bytes_up + entry.bytes_down
        up += entry.bytes_up
        each += entry.seconds / max(1, len(entry.clients))
        if entry.top1 is not None:
            curve.append((entry.round + 1, entry.top1, sent))
    return SeedResult(top1=top1, bytes=sent, seconds=seconds, curve=curve, bytes_up=up, client_seconds=each)


def _track(base: _Base, method: Method) -> tuple[rounds_spec.RoundsSpec, rounds_spec.Start, tuple[int, float, int]]:
    """The track, where it starts, and what was before it: (bytes, seconds, communication rounds)."""
    session, options = base.session, base.session.config.rounds
    stage = f"method:{method.name}"
    if method.name == LOCAL:
        once = RoundsOptions(count=1, local=dict(options.local), max_update_ratio=options.max_update_ratio)
        plain = rounds_spec.baseline(session, "fedavg")
        return (
            rounds_spec.RoundsSpec("local", stage, plain, once, None, test_clients=True),
            rounds_spec.Start(),
            (0, 0.0, 0),
        )
    if method.name.startswith("fgl-"):
        shot = base.one_shot()
        epochs = (options.server_epochs or SERVER_EPOCHS) if method.tuned else 0
        round_options = options.model_copy(update={"count": method.rounds, "server_epochs": epochs})
        track = rounds_spec.RoundsSpec(
            method.name, stage, session.config.algorithm, round_options, options.local_epochs, goes_on=True
        )
        start = rounds.after_one_shot(session, base.done)
        return track, start, (shot.bytes, shot.seconds, 1)
    round_options = options.model_copy(update={"count": method.rounds, "server_epochs": 0})
    track = rounds_spec.RoundsSpec(
        method.name, stage, rounds_spec.baseline(session, method.name), round_options, options.local_epochs
    )
    return track, rounds_spec.Start(), (0, 0.0, 0)


def summarize(methods: Sequence[Method], seeds: Mapping[int, Mapping[str, SeedResult]]) -> list[MethodRow]:
    """One row a method, over seeds. seeds: seed → what `run_seed` returned."""
    rows = []
    for method in methods:
        results = [of_seed[method.name] for of_seed in seeds.values()]
        top1 = [result.top1 for result in results]
        best = [max((point[1] for point in result.curve), default=result.top1) for result in results]
        difference, reached = None, None
        if method.name != FGL and all(FGL in of_seed for of_seed in seeds.values()):
            reference = [of_seed[FGL].top1 for of_seed in seeds.values()]
            difference = student([a - b for a, b in zip(top1, reference, strict=True)])
            if method.name == method.algorithm:  # the others start from what is to be reached
                reached = [
                    next((point[0] for point in result.curve if point[1] >= wanted), None)
                    for result, wanted in zip(results, reference, strict=True)
                ]
        rows.append(
            MethodRow(
                method=method.name,
                title=method.title,
                seeds=len(results),
                top1=_spread(top1),
                best=_spread(best) if method.all_rounds else None,
                bytes=round(float(np.mean([result.bytes for result in results]))),
                seconds=round(float(np.mean([result.seconds for result in results])), 1),
                bytes_up=_mean([result.bytes_up for result in results], 0),
                client_seconds=_mean([result.client_seconds for result in results], 2),
                difference=difference,
                reached=reached,
            )
        )
    return rows


def _mean(values: Sequence[float | None], digits: int) -> Any:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    mean = round(float(np.mean(known)), digits) if len(known) == len(values) else None
    return mean if mean is None or digits else int(mean)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=float(np.mean(values)), std=float(np.std(values, ddof=1)) if len(values) > 1 else 0.0)


def test_set(config: RunConfig, manager: PluginManager) -> ChanceLevels:
    """What guesses would score on the test images, see `metrics.about`; nothing is decoded."""
    dataset = manager.create("dataset", config.dataset)
    return metrics.about(dataset.split("test").labels, dataset.info().class_names)


def write(
    store: RunDir,
    config: RunConfig,
    manager: PluginManager,
    methods: Sequence[Method],
    seeds: Mapping[int, Mapping[str, SeedResult]],
    guesses: ChanceLevels,
) -> Summary:
    """compare.json and compare.md; returns what the first holds. guesses: see `test_set`."""
    summary = Summary(
        folder=str(store.root),
        dataset=short_forms.shown("dataset", config.dataset, manager.registry),
        test_set=guesses,
        seeds=len(seeds),
        methods=summarize(methods, seeds),
        each={str(seed): of_seed for seed, of_seed in seeds.items()},
        config=config.to_dict(),
    )
    store.write_json(store.path("compare.json"), to_json(summary))
    store.write(store.path("compare.md"), markdown(summary).encode())
    return summary
