"""`fgl run`, and commands that look at a configuration or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.cli import presets
from fgl.cli.common import (
    NO_FLAGS,
    Aggregator,
    Beta,
    Classifier,
    Clients,
    ConfigFile,
    Controls,
    Dataset,
    Device,
    Generator,
    Images,
    Json,
    Out,
    Partition,
    PresetName,
    Quiet,
    Replace,
    Rounds,
    Run,
    Seed,
    Set,
    Skip,
    Smoke,
    Strategy,
    check_folder,
    home,
    interruptible,
    resolve,
    shown,
    stdout_to_stderr,
)
from fgl.cli.output import note, say, say_json, say_table, say_text
from fgl.cli.threads import Threads
from fgl.core.errors import ConfigError, Problem
from fgl.core.manager import Manager

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.settings import RunConfig


def run_command(
    config: ConfigFile = None,
    preset: PresetName = None,
    smoke: Smoke = False,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    aggregator: Aggregator = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    rounds: Rounds = None,
    controls: Controls = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    out: Out = None,
    replace: Replace = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", callback=home, help="Complete this run, with the configuration it was begun with."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, compute nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Clients to classifier: in one communication round, or with more of them after it."""
    given = dict(locals())  # before anything else gets a name here
    from fgl.core import outputs
    from fgl.core.opening import fresh_folder, open_session
    from fgl.core.orchestrator import reopen, run_session
    from fgl.core.store import RunDir

    if resume is not None:
        _check_alone(given)
        with stdout_to_stderr(), interruptible(resume), shown(quiet) as progress:
            session = reopen(resume, progress)
            result = run_session(session)
        show_result(result, session.config, as_json, quiet)
        return
    manager = Manager.load()
    resolved, keys = resolve(manager, config, given)
    chosen = presets.choose(manager, resolved, given, "fgl run")
    if chosen is not None:
        resolved = chosen.config
    folder = out if out is not None else fresh_folder()
    check_folder("--out", folder)
    outputs.check(RunDir(folder), replace)
    with stdout_to_stderr(), interruptible(folder), presets.explained(chosen, "fgl run"):
        if not quiet:
            _announce(resolved, "dataset" not in keys, folder, chosen)
        suggest = not quiet and "partition" not in keys and chosen is None
        if dry_run:
            result = _dry_run(manager, resolved, folder, replace, suggest)
        else:
            with shown(quiet) as progress:
                session = open_session(resolved, manager, RunDir(folder), progress)
                if suggest:
                    _suggest_domains(session)
                result = run_session(session, replace)
    if chosen is not None:
        result["preset"] = chosen.summary()
    if not dry_run:
        show_result(result, resolved, as_json, quiet)
    elif as_json:
        say_json(result)
    else:
        from fgl.core.report import words

        for line in chosen.notes() if chosen is not None else ():
            say(line)
        for key, value in result["dry_run"].items():
            say(f"{key.replace('_', ' ')}: {words(value)}")
        say("everything fits; nothing was computed or written")


def show_result(result: dict[str, Any], config: RunConfig, as_json: bool, quiet: bool) -> None:
    """The table on stdout and the notes on stderr, or the JSON alone."""
    if not quiet:
        _warn(result, config)
    if as_json:
        say_json(result)
    elif not quiet:
        from fgl.console import result_table
        from fgl.core.report import rows

        folder = result["run_dir"]
        say_table(result_table(rows(result), result["result"]["selected"]["images"]), 150)
        for line in _beside(result):
            say(line)
        for line in (f"contact sheets: {folder}/sheets/", f"report:         {folder}/report.md, {folder}/report.json"):
            say(line)
        for line in result["preset"]["notes"] if "preset" in result else ():
            say(line)


def _beside(result: dict[str, Any]) -> list[str]:
    """What was measured beside the table, where it was asked for."""
    from fgl.core.metrics import line, verdict
    from fgl.core.sections import clients_line, plain, quality_rows, space_line

    score = result["result"]["selected"]
    lines = [line(score), *filter(None, [verdict(score)])]
    if result["at_clients"] is not None:
        lines.append(clients_line(result["at_clients"], result["result"]["selected"]["top1"]))
    if result["quality"] is not None:
        lines += [space_line(result["quality"]["space"]), *plain(quality_rows(result["quality"]))]
    return lines


def _check_alone(given: dict[str, Any]) -> None:
    """--resume takes the run's own configuration: every other option would be lost without a word."""
    beside = ("resume", "as_json", "quiet", "threads")
    others = [key for key, value in given.items() if key not in beside and value is not None and value is not False]
    if others:
        names = ["CONFIG.yaml" if key == "config" else f"--{key.strip('_').replace('_', '-')}" for key in others]
        expected = "nothing beside --resume; to go on with other options, name the run by --out instead"
        raise ConfigError([Problem(", ".join(names), "given", expected)], "the command line")


def stages_command(
    run: Run,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judge by this configuration instead of the run's own.")
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print what of a run is done, what would be done again, and why."""
    from dataclasses import asdict

    from fgl.core.intake import is_apart
    from fgl.core.layers import read_yaml
    from fgl.core.opening import open_session, saved_config
    from fgl.core.status import stages
    from fgl.core.store import RunDir
    from fgl.core.types import Silent

    manager, folder = Manager.load(), RunDir(run)
    layer = read_yaml(config) if config is not None else saved_config(folder, manager).to_dict()
    resolved, _ = resolve(manager, None, {**NO_FLAGS, "set_": set_}, [layer])
    with stdout_to_stderr():
        session = open_session(resolved, manager, folder, Silent(), apart=is_apart(folder))
        found = list(stages(session))
    if as_json:
        say_json({"stages": [asdict(one) for one in found]})
        return
    width = max(len(one.stage) for one in found)
    for one in found:
        took = f"{one.seconds:>9.1f} s" if one.state != "not done" else " " * 11
        say(f"{one.stage:<{width}}  {one.state:<8}  {took}  {one.why}".rstrip())


def config_show(
    config: ConfigFile = None,
    preset: PresetName = None,
    smoke: Smoke = False,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    aggregator: Aggregator = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    rounds: Rounds = None,
    controls: Controls = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the configuration that `fgl run` with the same arguments would use, as YAML."""
    resolved, _ = resolve(Manager.load(), config, locals())
    if as_json:
        say_json({"config": resolved.to_dict()})
    else:
        say_text(resolved.to_yaml().rstrip("\n"))


def digest_command(run: Run, as_json: Json = False) -> None:
    """Print the digest of a run's synthetic set, computed from its images."""
    from fgl.core.orchestrator import digest

    with stdout_to_stderr():
        found = digest(run)
    if as_json:
        say_json({"digest": found})
    else:
        say(found)


def _announce(config: RunConfig, bundled: bool, folder: Path, chosen: presets.Chosen | None) -> None:
    if chosen is not None:
        for line in chosen.notes():
            note(line, "yellow" if chosen.smoke else None)
    data = config.dataset.options.get("subset") or config.dataset.options.get("path") or ""
    said = " (no --dataset given: the bundled one)" if bundled and config.dataset.name == "bundled" else ""
    note(f"dataset {config.dataset.name} {data}{said}")
    note(
        f"generator {config.generator.name}, prompts {config.prompt_strategy.name}, "
        f"aggregator {config.aggregator.name}, classifier {config.classifier.name}, seed {config.seed} → {folder}"
    )


def _suggest_domains(session: Session) -> None:
    from fgl.core.cautions import suggest_domains

    said = suggest_domains(session.info)
    if said:
        note(f"note: {said}", "yellow")


def _warn(result: dict[str, Any], config: RunConfig) -> None:
    """What went otherwise than asked, and would be overlooked in a report."""
    lines = [f"{client}: {one['reason']}" for client, one in result["upload"]["refused"].items()]
    missing, skipped = result["synthetic"]["missing_classes"], result["dataset"]["skipped"]
    if missing:
        lines.append(f"no client holds {', '.join(missing)}: there is no synthetic image of it")
    if skipped:
        lines.append(f"left out {len(skipped)} unreadable image{'s' * (len(skipped) > 1)}, named in the report")
    left_out = set(config.controls) - {control["name"] for control in result["controls"]}
    if left_out:
        lines.append(f"no control {', '.join(sorted(left_out))}: the dataset has nothing for it")
    for line in lines:
        note(f"note: {line}", "yellow")


def _dry_run(manager: Manager, config: RunConfig, folder: Path, replace: bool, suggest: bool) -> dict[str, Any]:
    """Open everything that can be opened without computing: data, partition, the generator's declaration."""
    from fgl.core import foundation, outputs, rounds
    from fgl.core.dividing import divide
    from fgl.core.opening import models_to_pull, open_session
    from fgl.core.session import check_clients
    from fgl.core.store import RunDir
    from fgl.core.types import Silent

    session = open_session(config, manager, RunDir(folder), Silent())
    outputs.check_session(session, replace)
    if suggest:
        _suggest_domains(session)
    train, test = session.split("train"), session.split("test")
    divided = divide(manager, config, train)
    rounds.check(config.rounds, list(divided))
    check_clients(config, list(divided))
    foundation.check_available(session)
    plan = {
        "clients": {name: len(rows) for name, rows in divided.items()}, "classes": list(session.info.class_names),
        "train_images": len(train), "test_images": len(test), "device": session.device,
        "synthetic_images": config.synthesis.images_per_class * len(session.info.class_names),
        "arrays": {spec.name: list(spec.shape) for spec in session.generator.declare().arrays},
        "controls": list(session.config.controls), "models_to_pull": models_to_pull(config, manager),
    }  # fmt: skip
    return {"dry_run": plan, "config": config.to_dict()}
