"""`fgl probe`: whether a synthetic set is worth making."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Features, Json, Quiet, config_flags, option_name
from fgl.commands._output import note, say, say_json
from fgl.commands._threads import Threads
from fgl.commands.quality import _print
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.core.report.probe import ProbeFigures

BAD_OUTLOOK = 8
"""Exit code of a probe whose outlook is as bad as --fail-if says."""


class FailIf(StrEnum):
    """Outlooks that may end a script."""

    unknown = "unknown"
    weak = "weak"


PerClass = Annotated[
    int,
    typer.Option(
        "--per-class", metavar="N", min=1, help="Pictures of each class, and images a client compares them with."
    ),
]
LearnImages = Annotated[
    int,
    typer.Option(
        "--learn-images", metavar="N", min=2, help="Most real images that the feature space `trained` learns from."
    ),
]
WhenToFail = Annotated[
    FailIf | None,
    typer.Option("--fail-if", help=f"Exit with code {BAD_OUTLOOK} at this outlook, or at a worse one."),
]


@config_flags(without=("aggregator", "rounds", "algorithm", "baselines", "controls"))
def probe_command(
    flags: ConfigFlags,
    *,
    per_class: PerClass = 20,
    learn_images: LearnImages = 1000,
    features: Features = None,
    pool_clients: Annotated[
        bool,
        typer.Option(
            "--pool-clients",
            help="Train the feature space on half of the clients' images, pooled, which only a simulation can.",
        ),
    ] = False,
    fail_if: WhenToFail = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Does the generator know this domain? A few pictures of each class, judged at the clients before the long run.

    The pictures are made from class-name prompts; --prompt-strategy and --images-per-class only appear in the command
    that is suggested at the end."""
    from fgl.core.config.loader import expand
    from fgl.core.experiments.cautions import suggest_domains
    from fgl.core.experiments.probe import probe
    from fgl.core.preflight import open_session
    from fgl.core.report import outlook
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json

    manager = PluginManager.load()
    below = [] if features is None else [{"features": expand("features", features)}]
    resolved, keys, chosen = configure(manager, flags, "fgl probe", below)
    for line in chosen.notes() if chosen is not None and not quiet else ():
        note(line)
    with stdout_to_stderr(), shown(quiet or as_json) as progress, _preset.explained(chosen, "fgl probe"):
        # nothing is written: a probe leaves no run directory
        session = open_session(resolved, manager, RunDir(Path("unused")), progress)
        if not quiet and "partition" not in keys and chosen is None and (domains := suggest_domains(session.info)):
            note(f"note: {domains}", "yellow")
        result = probe(session, per_class, learn_images, pool_clients)
    level = outlook.level(result)
    going_on = None if level == outlook.UNKNOWN else command(flags)
    if as_json:
        say_json({**to_json(result), "outlook": level, "go_on": going_on})
        fail(level, fail_if)
        return
    show_figures(result)
    compare = command(flags, ("fgl", "compare", *outlook.WITHOUT))
    for line in outlook.advice(result.all_clients, result.chance, command(flags), compare):
        say(line)
    fail(level, fail_if)


def show_figures(result: ProbeFigures) -> None:
    """The tables, and how to read them."""
    from fgl.core.report import probe as report_probe

    _print(["pictures / other real images of the same clients:"], report_probe.probe_table(result).lines())
    if result.all_clients.per_class:
        _print(
            [f"classes of at least {result.min_images} images at a client:"],
            report_probe.probe_class_table(result).lines(),
        )
    _print(report_probe.probe_notes(result), [])
    for name, refusal in result.refused.items():
        say(f"left out: {name}: {refusal.reason}")


def fail(level: str, fail_if: FailIf | None) -> None:
    from fgl.core.report import outlook

    if fail_if is not None and (level == outlook.UNKNOWN or level == fail_if.value):
        raise typer.Exit(BAD_OUTLOOK)


def command(flags: ConfigFlags, words: tuple[str, ...] = ("fgl", "run")) -> str:
    """The run that was probed, as a shell command; or another command on the same data."""
    given = flags.given()
    line = [*words, *([given.pop("config")] if "config" in given else [])]
    switches = [option_name(name) for name in ("smoke", "skip_bad_images") if given.pop(name, False)]
    assignments = given.pop("set_", ())
    for name, value in given.items():
        option = "--first-seed" if words[1] == "compare" and name == "seed" else option_name(name)
        for one in value if isinstance(value, list) else [value]:
            line += [option, str(one)]
    line += switches
    for assignment in assignments:
        line += ["--set", assignment]
    return shlex.join(line)
