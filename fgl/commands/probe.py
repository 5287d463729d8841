"""`fgl probe`: whether a synthetic set is worth making."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fgl.commands import _preset
from fgl.commands._config import resolve
from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._options import (
    NO_FLAGS,
    Beta,
    Classifier,
    Clients,
    ConfigFile,
    Dataset,
    Device,
    Features,
    Generator,
    Images,
    Json,
    Partition,
    PresetName,
    Quiet,
    Seed,
    Set,
    Skip,
    Smoke,
    Strategy,
)
from fgl.commands._output import note, say, say_json
from fgl.commands._threads import Threads
from fgl.commands.quality import _print
from fgl.core.plugin_manager import PluginManager


def probe_command(
    config: ConfigFile = None,
    preset: PresetName = None,
    smoke: Smoke = False,
    generator: Generator = None,
    prompt_strategy: Strategy = None,
    classifier: Classifier = None,
    dataset: Dataset = None,
    clients: Clients = None,
    partition: Partition = None,
    beta: Beta = None,
    images_per_class: Images = None,
    seed: Seed = None,
    device: Device = None,
    skip_bad_images: Skip = False,
    set_: Set = None,
    per_class: Annotated[
        int,
        typer.Option(
            "--per-class", metavar="N", min=1, help="Pictures of each class, and images that a client looks at."
        ),
    ] = 20,
    learn_images: Annotated[
        int,
        typer.Option(
            "--learn-images", metavar="N", min=2, help="Most real images that the space `trained` is trained on."
        ),
    ] = 1000,
    features: Features = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Does the generator know this domain? A few pictures of each class, judged at the clients before the long run.

    The pictures are made from class-name prompts; --prompt-strategy and --images-per-class are of the run that is
    proposed at the end."""
    given = dict(locals())  # before anything else gets a name here
    from fgl.core.config.loader import expand
    from fgl.core.experiments.probe import probe
    from fgl.core.preflight import open_session
    from fgl.core.report import outlook, tables
    from fgl.core.report import probe as report_probe
    from fgl.core.store.run_dir import RunDir

    manager = PluginManager.load()
    below = [] if features is None else [{"features": expand("features", features)}]
    resolved, _ = resolve(manager, config, {**NO_FLAGS, **given}, below)
    chosen = _preset.choose(manager, resolved, given, "fgl probe")
    resolved = resolved if chosen is None else chosen.config
    for line in chosen.notes() if chosen is not None and not quiet else ():
        note(line)
    with stdout_to_stderr(), shown(quiet or as_json) as progress, _preset.explained(chosen, "fgl probe"):
        # nothing is written: a probe leaves no run behind
        found = probe(open_session(resolved, manager, RunDir(Path("unused")), progress), per_class, learn_images)
    level = outlook.level(found)
    going_on = None if level == outlook.UNKNOWN else command(given)
    if as_json:
        say_json({**found, "outlook": level, "go_on": going_on})
        return
    _print(["pictures / other real images of the same clients:"], tables.plain(report_probe.probe_rows(found)))
    if found["all"]["per_class"]:
        _print(
            [f"classes of at least {found['min_images']} images at a client:"],
            tables.plain(report_probe.probe_class_rows(found)),
        )
    _print(report_probe.probe_notes(found), [])
    for name, one in found["refused"].items():
        say(f"left out: {name}: {one['reason']}")
    for line in outlook.advice(found, command(given), command(given, ("fgl", "compare", *outlook.WITHOUT))):
        say(line)


def command(given: dict[str, Any], words: tuple[str, ...] = ("fgl", "run")) -> str:
    """The run that was probed, as a shell would take it; or another command on the same data."""
    found = [*words] + ([str(given["config"])] if given["config"] is not None else [])
    compares = words[1] == "compare"
    for key in (
        "preset",
        "generator",
        "prompt_strategy",
        "classifier",
        "dataset",
        "clients",
        "partition",
        "beta",
        "images_per_class",
        "seed",
        "device",
    ):
        if given.get(key) is not None:
            flag = "first-seed" if compares and key == "seed" else key.replace("_", "-")
            found += [f"--{flag}", str(given[key])]
    found += [f"--{key.replace('_', '-')}" for key in ("smoke", "skip_bad_images") if given.get(key)]
    for assignment in given["set_"] or ():
        found += ["--set", assignment]
    return shlex.join(found)
