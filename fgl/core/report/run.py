"""report.md: the report of a run for people, one function a section."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fgl.core.report import audit, clients, generator, intake, metrics, privacy_statement, quality, rounds
from fgl.core.report.results import results_table
from fgl.core.report.schema import ProductSummary, RunReport
from fgl.core.report.tables import Table
from fgl.text import counted, fenced
from fgl.text import markdown as md

if TYPE_CHECKING:
    from fgl.core.session import Session


def markdown(session: Session, report: RunReport, sheets: Sequence[Path]) -> str:
    """The report for people."""
    sections = (
        [intake.title(session), ""],
        results_table(report).markdown(),
        _test_set(report),
        _pictures(session, report, sheets),
        intake.intake_section(report),
        intake.codecs_section(report.upload),
        intake.accepted_section(report.intake),
        intake.damaged_section(report.damaged),
        rounds.adaptation_section(report.adaptation),
        rounds.rounds_section(report.rounds),
        intake.warnings_section(report.warnings),
        _missing_classes(report),
        _scores(report),
        metrics.domains_section(report.result.selected),
        clients.clients_section(report.at_clients, report.result.selected.top1),
        quality.quality_section(report.quality),
        *(quality.quality_section(one, label) for label, one in report.quality_beside.items()),
        audit.report_section(report.audit),
        privacy_statement.section(privacy_statement.of(session)),
        _samples(session, report),
        _digest(report),
        generator.generator_section(report),
        _data(session),
        _configuration(session, report),
    )
    return "\n".join(chain.from_iterable(sections))


def _test_set(report: RunReport) -> list[str]:
    """What the figures were measured on, and whether anything was learnt."""
    synthetic, score = report.synthetic, report.result.selected
    selection = synthetic.unselected or (
        f"The checkpoint is selected on a validation part of the synthetic set, {synthetic.validation:,} images."
    )
    used = "is used once, at the end"
    if report.rounds is not None:
        used = "is used for the one-shot model, and after rounds for the table of them; nothing is selected by it"
    verdict = metrics.verdict(score)
    one_shot = report.result.one_shot or report.result
    doubt = metrics.selection_caution(synthetic.validation, one_shot.selected.top1, one_shot.last.top1)
    return [
        "",
        f"Top-1 is measured on {score.images:,} real test images, the dataset's test split, which no client holds. "
        f"{selection} The test set {used}.",
        "",
        *([f"**{md(verdict)}**", ""] if verdict else []),
        *([md(doubt), ""] if doubt else []),
    ]


def _pictures(session: Session, report: RunReport, sheets: Sequence[Path]) -> list[str]:
    """The contact sheets, and how to look at them."""
    if report.synthetic.product is not None:
        return _no_pictures(report.synthetic.product, report.synthetic.images)
    lines = [
        f"## Synthetic images ({report.synthetic.images:,})",
        "",
        "Look at these before the figures: a class whose pictures are of something else, or of another kind than the "
        "clients' images, is one that the generator does not know, and no classifier learns it from them.",
    ]
    for path in sheets:
        name = session.info.class_names[int(path.name.partition("-")[0])]
        lines += ["", f"**{md(name)}**", ""]
        lines += [f"![{md(name)}](<{path.relative_to(session.run.root).as_posix()}>)"]
    return lines


def _no_pictures(product: ProductSummary, items: int) -> list[str]:
    """That a run without images has no contact sheets and no measure of image quality."""
    made = f"{items:,} synthetic items" if product.synthesized else f"{counted(items, 'row')} of statistics"
    size = " × ".join(map(str, product.shape))
    return [
        f"## No synthetic images ({md(product.kind)})",
        "",
        f"The classifier was fitted to {made}, {md(product.kind)} of {size} numbers, and reads real images as features "
        "of that size. There are no contact sheets and no measure of image quality, since there are no images.",
    ]


def _missing_classes(report: RunReport) -> list[str]:
    missing = report.synthetic.missing_classes
    if not missing:
        return []
    return ["", f"- no client sent a row of these classes, so there is no image of them: {', '.join(map(md, missing))}"]


def _scores(report: RunReport) -> list[str]:
    epoch = "the last epoch" if report.synthetic.unselected else "the selected epoch"
    model = epoch if report.rounds is None else "the model after the last round"
    return ["", "## Scores by class", "", f"Of {model}.", *metrics.section(report.result.selected)]


def _samples(session: Session, report: RunReport) -> list[str]:
    rows = [(client, *map(generator.words, counts)) for client, counts in report.partition.samples.items()]
    table = Table(("client", *session.info.class_names), rows)
    return ["", "## Samples of each client", "", *table.markdown()]


def _digest(report: RunReport) -> list[str]:
    lines = ["", f"Digest of the synthetic set: `{report.synthetic.digest}`", ""]
    redrawn = report.synthetic.redrawn
    if redrawn:
        images = "image was" if redrawn == 1 else "images were"
        lines += [f"{redrawn:,} {images} blanked by the safety checker and drawn again.", ""]
    return lines


def _data(session: Session) -> list[str]:
    info = session.info
    return [
        "",
        "## Data",
        "",
        f"- {md(info.name)}, license: {md(info.license)}",
        *([f"- {md(info.attribution)}"] if info.attribution else []),
        *([f"- {counted(len(info.skipped), 'unreadable image')} left out:"] if info.skipped else []),
        *(f"  - {md(name)}" for name in info.skipped),
        *(f"- {md(note)}" for note in info.notes),
    ]


def _configuration(session: Session, report: RunReport) -> list[str]:
    """Folded: it is the longest part, and the last that anybody reads."""
    threads = f", {counted(report.threads, 'thread')}" if report.threads else ""
    shown = yaml.safe_dump(intake.configuration(session), sort_keys=False, allow_unicode=True)
    return [
        "",
        "## Configuration",
        "",
        f"Device {md(report.device)}{threads}; versions are in environment.json.",
        "",
        "<details><summary>all options, as a YAML file</summary>",
        "",
        *fenced(shown.strip(), "yaml"),
        "",
        "</details>",
        "",
    ]
