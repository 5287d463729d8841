"""Methods side by side: one split, one model, the same seeds and test images, whatever is compared.

A seed is a run directory, a method some of its stages: a second comparison in the same folder reuses what is there, and
one with more rounds resumes what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import outputs
from fgl.core.baselines import BASELINES, compared
from fgl.core.config import short_forms
from fgl.core.config.saved import save_config
from fgl.core.config.schema import RoundsOptions, RunConfig
from fgl.core.preflight import open_session
from fgl.core.report import metrics
from fgl.core.report.intervals import student
from fgl.core.report.scores import ChanceLevels
from fgl.core.report.tables import Table
from fgl.core.server import removed
from fgl.core.stages import (
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
from fgl.core.store.typed import from_json, to_json
from fgl.errors import ConfigError, Problem, suggestion
from fgl.text import counted
from fgl.text import markdown as md

if TYPE_CHECKING:
    from fgl.contracts.progress import Progress
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.session import Session


_ONE_SHOT = "evaluate"
"""The last stage of the one-shot model."""
_ROUNDS = re.compile(r"fgl-([1-9][0-9]{0,4})round(-tuned)?")
SERVER_EPOCHS = 5
"""Passes of the server in a method that ends in -tuned, where the configuration states none: the paper's."""

FGL = "fgl"
LOCAL = BASELINES["local"].name


@dataclass(frozen=True, slots=True)
class Method:
    """What is compared. rounds: after the one-shot model, or of the algorithm; 0 where there are none. algorithm: ""
    where none is used. tuned: whether the server trains on the synthetic set after each round."""

    name: str
    rounds: int = 0
    algorithm: str = ""
    tuned: bool = False

    @property
    def title(self) -> str:
        if self.name == FGL:
            return "fgl, one round"
        if self.name in compared():
            return BASELINES[self.name].title
        counted = f"{self.rounds} round{'s' * (self.rounds > 1)}"
        if self.name.startswith("fgl-"):
            return f"fgl, {counted} after it{', fine-tuned' if self.tuned else ''}"
        return f"{self.algorithm}, {counted}"


def parse(names: Sequence[str], count: int, manager: PluginManager, config: RunConfig) -> list[Method]:
    """Methods by name. count: rounds of the federated algorithms. Raises ConfigError with every name that is none."""
    algorithms = manager.registry.names("algorithm")
    known = [FGL, *compared(), *algorithms, "fgl-5round", "fgl-5round-tuned"]
    found, problems = [], []
    for name in dict.fromkeys(names):
        match = _ROUNDS.fullmatch(name)
        if name in (FGL, *compared()):
            found.append(Method(name))
        elif match:
            found.append(Method(name, int(match[1]), config.algorithm.name, match[2] is not None))
        elif name in algorithms:
            found.append(Method(name, count, name))
        else:
            expected = f"no such method{suggestion(name, known)} (known: {', '.join(known)}, with any number of rounds)"
            problems.append(Problem("--methods", repr(name), expected))
    if not names:
        problems.append(Problem("--methods", "nothing", f"expected some of {', '.join(known)}"))
    if problems:
        raise ConfigError(problems, "the command line")
    return found


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
        scores = self.done[evaluate.STAGE]
        return OneShot(
            scores=scores,
            top1=scores.selected["top1"],
            bytes=self.done[clients.STAGE].bytes_total,
            seconds=sum(self.session.seconds[stage.name] for stage in pipeline.upto(self.session, _ONE_SHOT)),
        )


def run_seed(
    config: RunConfig,
    methods: Sequence[Method],
    manager: PluginManager,
    run: RunDir,
    progress: Progress,
    announce: Callable[[Method], None],
) -> dict[str, dict[str, Any]]:
    """Method → its result for the configuration's seed, computed or reused, in a run directory of its own. Raises
    FGLError."""
    plain = config.model_copy(update={"baselines": (), "all_baselines": False})
    outputs.check(run)
    session = open_session(plain, manager, run, progress)
    with session.run.lock():
        save_config(session.run, session.config)
        removed.refresh(session)
        run_report.save_environment(session)
        base = _Base(session, pipeline.run(session, "partition"))
        rounds.check(config.rounds, partition.client_ids(session, base.done))
        found = {}
        for method in methods:
            announce(method)
            found[method.name] = _result(base, method)
        session.run.write_json(session.run.path("methods.json"), found)
        return found


def _result(base: _Base, method: Method) -> dict[str, Any]:
    """top1: of the model that counts (selected on synthetic validation images where there are such, else the last).
    bytes: both ways, all clients and rounds. curve: (round, top-1, bytes so far) for each tested round."""
    session = base.session
    if method.name == FGL:
        shot = base.one_shot()
        curve = [[1, shot.top1, shot.bytes]]
        return {"top1": shot.top1, "bytes": shot.bytes, "seconds": shot.seconds, "curve": curve}
    if method.name in compared() and method.name != LOCAL:
        baseline = BASELINES[method.name]
        before_it = base.one_shot().seconds if baseline.after_one_shot else 0.0
        row = baseline.call("make", session, base.done)[method.name]
        return {"top1": row["top1"], "bytes": row["bytes"], "seconds": before_it + row["seconds"], "curve": []}
    track, start, before = _track(base, method)
    lost = rounds.discarded(session, track, rounds.inputs_of(session, track, base.partition_digest, start.digest))
    if lost:
        count = str(track.options.count)
        expected = f"fewer would discard the {lost} in {session.run.root}; expected {lost} or more, or another --out"
        raise ConfigError([Problem(f"rounds of {method.name}", count, expected)], "the command line")
    result = rounds.run(session, track, base.divided, base.partition_digest, start)
    if method.name == LOCAL:
        mean = metrics.mean_of(list(result.rounds[0]["local"].values()))
        return {"top1": mean["top1"], "bytes": 0, "seconds": session.seconds[track.stage], "curve": []}
    shot_bytes, seconds, shift = before
    curve, sent = [], shot_bytes
    if shift:
        curve.append([1, base.one_shot().top1, sent])
    for entry in result.rounds:
        sent += entry["bytes_up"] + entry["bytes_down"]
        if entry["top1"] is not None:
            curve.append([entry["round"] + shift, entry["top1"], sent])
    return {
        "top1": result.score["top1"],
        "bytes": sent,
        "seconds": seconds + session.seconds[track.stage],
        "curve": curve,
    }


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
        own = options.model_copy(update={"count": method.rounds, "server_epochs": epochs})
        track = rounds_spec.RoundsSpec(
            method.name, stage, session.config.algorithm, own, options.local_epochs, goes_on=True
        )
        start = rounds.after_one_shot(session, base.done)
        return track, start, (shot.bytes, shot.seconds, 1)
    own = options.model_copy(update={"count": method.rounds, "server_epochs": 0})
    track = rounds_spec.RoundsSpec(
        method.name, stage, rounds_spec.baseline(session, method.name), own, options.local_epochs
    )
    return track, rounds_spec.Start(), (0, 0.0, 0)


def summarize(methods: Sequence[Method], seeds: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a method, over seeds. seeds: seed → what `run_seed` returned.

    top1, best: mean and standard deviation (of a sample, n - 1) of the result, and of the best tested round, which no
    method may select by. difference: to fgl, paired by seed, see `student`; None without fgl. reached: for each seed
    the first tested round with at least fgl's accuracy, None where there is none."""
    rows = []
    for method in methods:
        each = [seeds[seed][method.name] for seed in seeds]
        top1 = [one["top1"] for one in each]
        best = [max((point[1] for point in one["curve"]), default=one["top1"]) for one in each]
        reference = [seeds[seed].get("fgl", {}).get("top1") for seed in seeds]
        row: dict[str, Any] = {
            "method": method.name,
            "title": method.title,
            "seeds": len(each),
            "top1": _spread(top1),
            "best": _spread(best) if method.rounds else None,
            "bytes": round(float(np.mean([one["bytes"] for one in each]))),
            "seconds": round(float(np.mean([one["seconds"] for one in each])), 1),
            "difference": None,
            "reached": None,
        }
        if all(value is not None for value in reference) and method.name != "fgl":
            row["difference"] = to_json(student([a - b for a, b in zip(top1, reference, strict=True)]))
            if method.name == method.algorithm:  # the others start from what is to be reached
                row["reached"] = [
                    next((point[0] for point in one["curve"] if point[1] >= wanted), None)
                    for one, wanted in zip(each, reference, strict=True)
                ]
        rows.append(row)
    return rows


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def test_set(config: RunConfig, manager: PluginManager) -> ChanceLevels:
    """What guesses would score on the test images, see `metrics.about`; nothing is decoded."""
    dataset = manager.create("dataset", config.dataset)
    return metrics.about(dataset.split("test").labels, dataset.info().class_names)


def write(
    store: RunDir,
    config: RunConfig,
    manager: PluginManager,
    methods: Sequence[Method],
    seeds: Mapping[int, Any],
    guesses: ChanceLevels,
) -> dict[str, Any]:
    """compare.json and compare.md; returns what the first holds. guesses: see `test_set`."""
    name = short_forms.shown("dataset", config.dataset, manager.registry)
    rows = summarize(methods, seeds)
    summary = {
        "schema_version": 1,
        "folder": str(store.root),
        "dataset": name,
        "test_set": to_json(guesses),
        "seeds": len(seeds),
        "methods": rows,
        "each": {str(seed): found for seed, found in seeds.items()},
        "config": config.to_dict(),
    }
    store.write_json(store.path("compare.json"), summary)
    store.write(store.path("compare.md"), _markdown(summary).encode())
    return summary


def _markdown(summary: Mapping[str, Any]) -> str:
    lines = [
        f"# Methods on {md(summary['dataset'])}",
        "",
        *results_table(summary).markdown(),
        "",
        md(metrics.scale(from_json(ChanceLevels, summary["test_set"]))),
        "",
        f"Mean ± standard deviation over {counted(summary['seeds'], 'seed')}. Top-1 is of the model after the last "
        "round, or of the epoch selected on synthetic validation images; the best round is chosen by the test images, "
        "in favour of the method, and not to be had in practice: no result here is one. Differences are of percentage "
        "points, positive where fgl is better, paired by seed, with an interval by Student's t. Bytes are both ways, "
        f"all clients and rounds. “{COLUMNS[-1]}”: for each seed the first tested round with at least the one-shot "
        "accuracy of that seed.",
        *(["", few] if (few := few_seeds(summary["seeds"])) else []),
        "",
        "![accuracy against rounds](accuracy-rounds.png)",
        "",
        "![accuracy against bytes](accuracy-bytes.png)",
        "",
    ]
    return "\n".join(lines)


def results_table(summary: Mapping[str, Any]) -> Table:
    """A method a row. summary: see `write`."""
    title = f"Top-1 on real test images, mean ± standard deviation over {counted(summary['seeds'], 'seed')}"
    return Table(COLUMNS, [cells_of(row) for row in summary["methods"]], title=title)


COLUMNS = (
    "",
    "top-1",
    "best round",
    "fgl minus this, points (95 % interval)",
    "bytes",
    "seconds",
    "rounds to reach fgl",
)
"""Of `cells_of`."""


def few_seeds(seeds: int) -> str:
    """What an interval of few seeds is worth, "" where there are enough."""
    if seeds > 3:
        return ""
    if seeds == 1:
        return "One seed says nothing of the spread: there is no interval. Take --seeds 3 or more."
    return (
        f"{seeds} seeds leave Student's t with {seeds - 1} degree{'s' * (seeds > 2)} of freedom: intervals are wide, "
        "and cut at -100 and +100 points. Take more seeds before a difference is believed."
    )


def _minus(difference: Mapping[str, float | None]) -> str:
    """fgl minus the method, in points; the record has it the other way. No difference is beyond 100 points."""
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    assert mean is not None
    text = f"{_points(-mean)}"
    return text if low is None or high is None else f"{text} ({_points(-high)} to {_points(-low)})"


def _points(value: float) -> str:
    return f"{100 * min(1.0, max(-1.0, value)) + 0.0:+.1f}"


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """A row of `summarize` as text."""
    seeds, difference, reached = row["seeds"], row["difference"], row["reached"]
    shown = "" if difference is None else _minus(difference)
    when = "" if reached is None else ", ".join("never" if one is None else str(one) for one in reached)
    best = "" if row["best"] is None else spread(row["best"], seeds)
    return [
        row["title"],
        spread(row["top1"], seeds),
        best,
        shown,
        f"{row['bytes']:,}",
        f"{row['seconds']:.1f}",
        when,
    ]


def spread(value: Mapping[str, float], seeds: int) -> str:
    return f"{100 * value['mean']:.1f} ± {100 * value['std']:.1f} %" if seeds > 1 else f"{100 * value['mean']:.1f} %"
