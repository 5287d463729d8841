"""What methods of a comparison come to: with one seed, over all of them, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fgl.core.report import metrics
from fgl.core.report.intervals import Interval
from fgl.core.report.scores import ChanceLevels
from fgl.core.report.tables import Table
from fgl.core.store.typed import JsonObject
from fgl.text import counted
from fgl.text import markdown as md

Point = tuple[int, float, int]
"""(communication round, top-1, bytes so far) of a tested round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What a method comes to with one seed."""

    top1: float
    """Of the model that counts: selected on synthetic validation images where there are such, else the last."""
    bytes: int
    """Both ways, of all clients and rounds."""
    seconds: float
    """Of all stages that it took."""
    curve: Sequence[Point] = ()
    """Of the rounds that were tested."""
    bytes_up: int | None = None
    """From all clients to the server, over all rounds; None where images leave the clients."""
    client_seconds: float | None = None
    """Work for one client, on average, over all rounds: clients work in turn. None where no client does any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Over seeds."""

    mean: float
    """The mean."""
    std: float
    """Standard deviation of a sample (n - 1); 0 for a single seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """A method over all seeds: a row of the table."""

    method: str
    """Its name."""
    title: str
    """What a reader calls it."""
    seeds: int
    """How many there are."""
    top1: Spread
    """Of the result."""
    best: Spread | None
    """Of the best tested round, which no method may select by; None without rounds."""
    bytes: int
    """Mean over the seeds."""
    seconds: float
    """Mean over the seeds."""
    bytes_up: int | None = None
    """From all clients, mean over the seeds; None where images leave them, and in results of versions before 0.2."""
    client_seconds: float | None = None
    """Work for one client, mean over clients and seeds; None where it is not known."""
    difference: Interval | None
    """Top-1 less that of fgl, paired by seed; None without fgl, and of fgl itself."""
    reached: list[int | None] | None
    """For each seed the first tested round with at least fgl's accuracy, None where there is none; None as a whole for
    methods that start from the model that is to be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What compare.json holds."""

    schema_version: int = 1
    folder: str
    """Of the runs and results."""
    dataset: str
    """As on the command line."""
    test_set: ChanceLevels
    """What guesses would score."""
    seeds: int
    """How many there are."""
    methods: list[MethodRow]
    """In the order that was asked for."""
    each: dict[str, Mapping[str, SeedResult]]
    """Seed → method → its result."""
    config: JsonObject
    """The configuration of all runs."""


def markdown(summary: Summary) -> str:
    """What compare.md holds."""
    lines = [
        f"# Methods on {md(summary.dataset)}",
        "",
        *results_table(summary).markdown(),
        "",
        md(metrics.scale(summary.test_set)),
        "",
        *([f"**{md(bad)}**", ""] if (bad := verdict(summary)) else []),
        f"Mean ± standard deviation over {counted(summary.seeds, 'seed')}. Top-1 is of the model after the last "
        "round, or of the epoch selected on synthetic validation images; the best round is chosen by the test images, "
        "in favour of the method, and not to be had in practice: no result here is one. Differences are of percentage "
        "points, positive where fgl is better, paired by seed, with an interval by Student's t. Bytes are both ways, "
        "all clients and rounds; bytes up those that clients send. Seconds at a client are the mean over clients, "
        "which work in turn here, with the server's share of a round. "
        f"“{COLUMNS[-1]}”: for each seed the first tested round with at least the one-shot "
        "accuracy of that seed.",
        *(["", few] if (few := few_seeds(summary.seeds)) else []),
        "",
        "![accuracy against rounds](accuracy-rounds.png)",
        "",
        "![accuracy against bytes](accuracy-bytes.png)",
        "",
    ]
    return "\n".join(lines)


def results_table(summary: Summary) -> Table:
    """A method a row."""
    title = f"Top-1 on real test images, mean ± standard deviation over {counted(summary.seeds, 'seed')}"
    return Table(COLUMNS, [cells_of(row) for row in summary.methods], title=title)


COLUMNS = (
    "",
    "top-1",
    "best round",
    "fgl minus this, points (95 % interval)",
    "bytes",
    "bytes up",
    "seconds",
    "s at a client",
    "rounds to reach fgl",
)
"""Of `cells_of`."""


def verdict(summary: Summary) -> str:
    """What is to be said where fgl's one-shot model does not beat a guess, "" elsewhere."""
    guess = summary.test_set.best_guess
    shot = next((row for row in summary.methods if row.method == "fgl"), None)
    if shot is None or shot.top1.mean > guess:
        return ""
    better = [row.title for row in summary.methods if row.top1.mean > guess and row.method != "fgl"]
    others = f" Better than a guess: {', '.join(better)}." if better else ""
    return (
        f"fgl's one-shot model is no better than a guess: {shot.top1.mean:.1%}, where the better of two guesses gives "
        f"{guess:.1%}. The generator may not know this domain: docs/unknown-domain.md.{others}"
    )


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


def _minus(difference: Interval) -> str:
    """fgl minus the method, in points; the record has it the other way. No difference is beyond 100 points."""
    low, high = difference.low, difference.high
    text = _points(-difference.mean)
    return text if low is None or high is None else f"{text} ({_points(-high)} to {_points(-low)})"


def _points(value: float) -> str:
    return f"{100 * min(1.0, max(-1.0, value)) + 0.0:+.1f}"


def cells_of(row: MethodRow) -> list[str]:
    """A row of `summarize` as text."""
    shown = "" if row.difference is None else _minus(row.difference)
    when = "" if row.reached is None else ", ".join("never" if at is None else str(at) for at in row.reached)
    best = "" if row.best is None else spread(row.best, row.seeds)
    return [
        row.title,
        spread(row.top1, row.seeds),
        best,
        shown,
        f"{row.bytes:,}",
        "" if row.bytes_up is None else f"{row.bytes_up:,}",
        f"{row.seconds:.1f}",
        "" if row.client_seconds is None else f"{row.client_seconds:.1f}",
        when,
    ]


def spread(value: Spread, seeds: int) -> str:
    return f"{100 * value.mean:.1f} ± {100 * value.std:.1f} %" if seeds > 1 else f"{100 * value.mean:.1f} %"
