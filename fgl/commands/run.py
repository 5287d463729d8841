"""`fgl run`: the whole method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import check_folder, interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Out, Quiet, Replace, config_flags, home, option_name
from fgl.commands._output import note, say, say_json, say_table
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, Problem
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.report.schema import RunReport
    from fgl.core.session import Session


@config_flags()
def run_command(
    flags: ConfigFlags,
    *,
    out: Out = None,
    replace: Replace = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", callback=home, help="Complete this run, with the configuration it was started with."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Clients to classifier: in one communication round, or with more rounds after it."""
    from fgl.core import outputs
    from fgl.core.orchestrator import run_session
    from fgl.core.preflight import open_session
    from fgl.core.store.run_dir import RunDir, default_run_dir

    if resume is not None:
        others = [("--out", out is not None), ("--replace", replace), ("--dry-run", dry_run)]
        _check_alone([*map(option_name, flags.given()), *(name for name, given in others if given)])
        _resume(resume, as_json, quiet)
        return
    manager = PluginManager.load()
    resolved, keys, chosen = configure(manager, flags, "fgl run")
    folder = out if out is not None else default_run_dir()
    check_folder("--out", folder)
    outputs.check(RunDir(folder), replace)
    with stdout_to_stderr(), interruptible(folder), _preset.explained(chosen, "fgl run"):
        if not quiet:
            _announce(manager, resolved, "dataset" not in keys, folder, chosen)
        suggest = not quiet and "partition" not in keys and chosen is None
        if dry_run:
            plan = _dry_run(manager, resolved, folder, replace, suggest)
        else:
            with shown(quiet) as progress:
                session = open_session(resolved, manager, RunDir(folder), progress)
                if suggest:
                    _suggest_domains(session)
                report = run_session(session, replace)
    preset = None if chosen is None else chosen.summary()
    if dry_run:
        _show_plan(plan if preset is None else {**plan, "preset": preset}, as_json)
    else:
        show_result(dataclasses.replace(report, preset=preset), resolved, as_json, quiet)


def _show_plan(result: dict[str, Any], as_json: bool) -> None:
    from fgl.core.report.generator import words

    if as_json:
        say_json(result)
        return
    for line in result["preset"]["notes"] if "preset" in result else ():
        say(line)
    for key, value in result["dry_run"].items():
        say(f"{key.replace('_', ' ')}: {words(value)}")
    say("everything fits; nothing was computed or written")


def show_result(report: RunReport, config: RunConfig, as_json: bool, quiet: bool) -> None:
    """The table on stdout and the notes on stderr, or the JSON alone."""
    if not quiet:
        _warn(report, config)
    if as_json:
        say_json(report.to_dict())
    elif not quiet:
        from fgl.core.report.results import results_table

        folder = report.run_dir
        say_table(results_table(report), 150, first_is_bold=True)
        for line in _beside(report):
            say(line)
        product = report.synthetic.product
        sheets = f"{folder}/sheets/" if product is None else f"none, for {product.kind} are no images"
        for line in (f"contact sheets: {sheets}", f"report:         {folder}/report.md, {folder}/report.json"):
            say(line)
        for line in report.preset["notes"] if report.preset is not None else ():
            say(line)


def _beside(report: RunReport) -> list[str]:
    """What was measured in addition to the table."""
    from fgl.core.report.clients import clients_line
    from fgl.core.report.metrics import line, selection_caution, verdict
    from fgl.core.report.quality import quality_table, space_line

    score = report.result.selected
    one_shot = report.result.one_shot or report.result
    doubt = selection_caution(report.synthetic.validation, one_shot.selected.top1, one_shot.last.top1)
    lines = [line(score), *filter(None, [verdict(score), doubt])]
    if report.at_clients is not None:
        lines.append(clients_line(report.at_clients, score.top1))
    if report.quality is not None:
        lines += [space_line(report.quality.space), *quality_table(report.quality).lines()]
    return lines


def _resume(run: Path, as_json: bool, quiet: bool) -> None:
    from fgl.core.orchestrator import reopen, run_session

    with stdout_to_stderr(), interruptible(run), shown(quiet) as progress:
        session = reopen(run, progress)
        report = run_session(session)
    show_result(report, session.config, as_json, quiet)


def _check_alone(others: Sequence[str]) -> None:
    """--resume uses the run's own configuration: any other option would be ignored silently."""
    if others:
        expected = "nothing beside --resume; to resume with other options, name the run by --out instead"
        raise ConfigError([Problem(", ".join(others), "given", expected)], COMMAND_LINE)


def _announce(
    manager: PluginManager, config: RunConfig, bundled: bool, folder: Path, chosen: _preset.Chosen | None
) -> None:
    from fgl.core.config import short_forms
    from fgl.core.config.defaults import DEFAULTS

    if chosen is not None:
        for line in chosen.notes():
            note(line, "yellow" if chosen.smoke else None)
    bundled = bundled and config.dataset.name == DEFAULTS["dataset"]["name"]
    default = " (no --dataset given: the bundled one)" if bundled else ""
    note(f"dataset {short_forms.shown('dataset', config.dataset, manager.registry)}{default}")
    filters = "".join(f" → {plain(one.name)}" for one in config.upload.chain())
    note(
        f"generator {config.generator.name}, prompts {config.prompt_strategy.name}{filters}, "
        f"aggregator {config.aggregator.name}, classifier {config.classifier.name}, seed {config.seed} → {folder}"
    )


def _suggest_domains(session: Session) -> None:
    from fgl.core.experiments.cautions import suggest_domains

    suggestion = suggest_domains(session.info)
    if suggestion:
        note(f"note: {suggestion}", "yellow")


def _warn(report: RunReport, config: RunConfig) -> None:
    """Say what differs from what was requested, and would be overlooked in a report."""
    lines = [f"{client}: {refusal.reason}" for client, refusal in report.upload.refused.items()]
    missing, skipped = report.synthetic.missing_classes, report.dataset.skipped
    if missing:
        lines.append(f"no client sent a row of {', '.join(missing)}: no synthetic image of it exists")
    if skipped:
        lines.append(f"left out {len(skipped)} unreadable image{'s' * (len(skipped) > 1)}, named in the report")
    left_out = set(config.baselines) - {baseline.name for baseline in report.baselines}
    if left_out:
        lines.append(f"no baseline {', '.join(sorted(left_out))}: the dataset or the generator has nothing for it")
    for line in lines:
        note(f"note: {line}", "yellow")


def _dry_run(manager: PluginManager, config: RunConfig, folder: Path, replace: bool, suggest: bool) -> dict[str, Any]:
    """Open everything that can be opened without computing: data, partition, the generator's schema of uploads."""
    from fgl.contracts.progress import NullProgress
    from fgl.core import outputs
    from fgl.core.partitioning import divide
    from fgl.core.preflight import models_to_pull, open_session
    from fgl.core.session import check_clients
    from fgl.core.stages import foundation_models
    from fgl.core.stages import rounds as rounds_stage
    from fgl.core.store.run_dir import RunDir

    session = open_session(config, manager, RunDir(folder), NullProgress())
    outputs.check_session(session, replace)
    if suggest:
        _suggest_domains(session)
    train, test = session.split("train"), session.split("test")
    divided = divide(manager, config, train)
    rounds_stage.check(session, list(divided))
    check_clients(config, list(divided))
    foundation_models.check_available(session)
    plan = {
        "clients": {name: len(rows) for name, rows in divided.items()},
        "classes": list(session.info.class_names),
        "train_images": len(train),
        "test_images": len(test),
        "device": session.device,
        "synthetic_images": config.synthesis.images_per_class * len(session.info.class_names),
        "arrays": {spec.name: list(spec.shape) for spec in session.generator.declare().arrays},
        "upload_filters": [one.name for one in config.upload.chain()],
        "baselines": list(session.config.baselines),
        "models_to_pull": models_to_pull(config, manager),
    }
    return {"dry_run": plan, "config": config.to_dict()}
