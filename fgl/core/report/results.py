"""The table of results: this run first, then what it has to be read beside."""

from __future__ import annotations

from dataclasses import dataclass

from fgl.core.config.defaults import DEFAULTS
from fgl.core.report.rounds import STARTS
from fgl.core.report.schema import RunReport
from fgl.core.report.scores import ChanceLevels, Rounds, Score
from fgl.core.report.tables import Table
from fgl.text import plain

# Stages that measure: a run is not slower for what was asked of it beside.
_BESIDE = ("baseline:", "features:", "quality:", "evaluate:clients")


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One method."""

    title: str
    """What it is called."""
    top1: float
    """Of the model that counts."""
    last: float
    """Top-1 of the last epoch."""
    bytes: int
    """Sent to and by all clients."""
    seconds: float
    """How long it took."""
    note: str
    """What it was made from."""


def rows(report: RunReport) -> list[ResultRow]:
    """This run first, then its baselines, then guesses."""
    baselines = [ResultRow(one.title, one.top1, one.last, one.bytes, one.seconds, one.note) for one in report.baselines]
    return [*_own_rows(report), *baselines, *guesses(report.test_set)]


def method_title(report: RunReport) -> str:
    """What the run's one-shot model is called."""
    name = _method(report)
    return f"{name} one-shot" if name == DEFAULTS["method"]["name"] else f"{name}, one-shot"


def _one_shot_title(report: RunReport) -> str:
    """In the table: what clients sent, or, without images, what was fitted to what."""
    config, product = report.config, report.synthetic.product
    if product is None:
        return f"{method_title(report)}, {config['prompt_strategy']['name']} prompts"
    space = report.generator.get("features")
    name = space.get("space") if isinstance(space, dict) else None
    return f"{config['classifier']['name']} head on {plain(name or product.kind, 60)} features"


def _method(report: RunReport) -> str:
    """Reports of versions without methods are of the default one."""
    method: dict[str, str] = report.config.get("method", DEFAULTS["method"])
    return method["name"]


def _own_rows(report: RunReport) -> list[ResultRow]:
    result, after = report.result, report.rounds
    seconds = {stage: value for stage, value in report.seconds.items() if not stage.startswith(_BESIDE)}
    selected, last = _one_shot(report)
    one_shot = ResultRow(
        title=_one_shot_title(report),
        top1=selected.top1,
        last=last.top1,
        bytes=report.upload.bytes_total + _adaptation_bytes(report),
        seconds=sum(value for stage, value in seconds.items() if stage != "rounds"),
        note="this run" if after is None else "this run, before its rounds",
    )
    if after is None:
        return [one_shot]
    count, fine = len(after.rounds), report.config["rounds"]["server_epochs"]
    with_rounds = ResultRow(
        title=f"{_method(report)}, {count} round{'s' * (count > 1)} after it{', fine-tuned' if fine else ''}",
        top1=result.last.top1,
        last=result.last.top1,
        bytes=one_shot.bytes + after.bytes_up + after.bytes_down,
        seconds=sum(seconds.values()),
        note=f"{report.config['algorithm']['name']}{_start(after)}, model both ways",
    )
    return [one_shot, with_rounds]


def _start(after: Rounds) -> str:
    """Where rounds started, where clients decided it."""
    return "" if after.start is None else f" {STARTS[after.start.chosen]}"


def _adaptation_bytes(report: RunReport) -> int:
    return 0 if report.adaptation is None else report.adaptation.bytes_up + report.adaptation.bytes_down


def _one_shot(report: RunReport) -> tuple[Score, Score]:
    """(selected, last) scores of the model before any rounds."""
    scores = report.result.one_shot or report.result
    return scores.selected, scores.last


def guesses(levels: ChanceLevels) -> list[ResultRow]:
    """Rows for what needs no classifier."""
    largest = levels.majority
    both = (
        ("guessing among all classes (chance)", levels.chance, ""),
        ("always the largest class of the test set", largest.share, plain(largest.class_name, 60)),
    )
    return [ResultRow(title, share, share, 0, 0.0, note) for title, share, note in both]


def results_table(report: RunReport) -> Table:
    """The rows, for the terminal and for report.md."""
    cells = [
        (one.title, f"{one.top1:.1%}", f"{one.last:.1%}", f"{one.bytes:,}", f"{one.seconds:.1f}", one.note)
        for one in rows(report)
    ]
    columns = ("method", "top-1", "top-1, last epoch", "bytes sent", "seconds", "note")
    title = f"Top-1 on {report.result.selected.images:,} real test images"
    return Table(columns, cells, "lrrrrl", title)
