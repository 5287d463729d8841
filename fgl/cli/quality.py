"""`fgl quality` and `fgl probe`: how good the synthetic set is, and whether it is worth making."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.cli import presets
from fgl.cli.common import (
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
    Run,
    Seed,
    Set,
    Skip,
    Smoke,
    Strategy,
    interruptible,
    resolve,
    shown,
    stdout_to_stderr,
)
from fgl.cli.output import note, say, say_json
from fgl.cli.threads import Threads
from fgl.core.errors import ConfigError, Problem
from fgl.core.manager import Manager

if TYPE_CHECKING:
    from fgl.core.settings import RunConfig

REAL = ("train", "public", "test")


def quality_command(
    run: Run,
    features: Features = None,
    real: Annotated[
        str | None, typer.Option("--real", metavar="|".join(REAL), help="The real images to compare with.")
    ] = None,
    set_: Set = None,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Compare a run's synthetic set with real images: FID, KID, coverage and its kin, and the nearest real image."""
    from fgl.core import measured, sections
    from fgl.core.intake import is_apart
    from fgl.core.opening import open_session, saved_config
    from fgl.core.store import RunDir

    manager, folder = Manager.load(), RunDir(run)
    saved = saved_config(folder, manager)
    resolved = _measuring(manager, saved, features, real, set_, device)
    with stdout_to_stderr(), interruptible(run, f"fgl quality {run}"), shown(quiet) as progress, folder.lock():
        session = open_session(resolved, manager, folder, progress, apart=is_apart(folder))
        found = measured.quality_of(session, saved)
    if as_json:
        say_json(found)
    elif not quiet:
        _print(sections.quality_notes(found), sections.plain(sections.quality_rows(found)))
        _print(["by class, synthetic / held-out:"], sections.plain(sections.class_rows(found)))
        table = f"{run}/{found['distances']}"
        say(f"in the run's report too: {run}/report.md")
        say(f"all of it: {Path(table).with_suffix('.json')}; distances, image by image: {table}")


def _measuring(
    manager: Manager, saved: RunConfig, features: str | None, real: str | None, set_: list[str] | None,
    device: str | None,
) -> RunConfig:  # fmt: skip
    """The run's own configuration with what says how to measure; anything else would be of another run."""
    from fgl.core.layers import expand

    layer: dict[str, Any] = {"evaluation": {"quality": True, **({"real": real} if real is not None else {})}}
    if features is not None:
        layer["features"] = expand("features", features)
    flags = {**NO_FLAGS, "set_": set_, "device": device}
    resolved, _ = resolve(manager, None, flags, [saved.to_dict(), layer])
    same = resolved.model_copy(
        update={"features": saved.features, "evaluation": saved.evaluation, "device": saved.device}
    )
    if same != saved:
        keys = [key for key, value in same.to_dict().items() if value != saved.to_dict()[key]]
        expected = "features.… and evaluation.… alone; a changed run is made with fgl run"
        raise ConfigError([Problem("--set", ", ".join(keys), expected)], "the command line")
    return resolved.model_copy(update={"evaluation": resolved.evaluation.model_copy(update={"at_clients": False})})


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
    from fgl.core import outlook, sections
    from fgl.core.layers import expand
    from fgl.core.opening import open_session
    from fgl.core.probing import probe
    from fgl.core.store import RunDir

    manager = Manager.load()
    below = [] if features is None else [{"features": expand("features", features)}]
    resolved, _ = resolve(manager, config, {**NO_FLAGS, **given}, below)
    chosen = presets.choose(manager, resolved, given, "fgl probe")
    resolved = resolved if chosen is None else chosen.config
    for line in chosen.notes() if chosen is not None and not quiet else ():
        note(line)
    with stdout_to_stderr(), shown(quiet or as_json) as progress, presets.explained(chosen, "fgl probe"):
        # nothing is written: a probe leaves no run behind
        found = probe(open_session(resolved, manager, RunDir(Path("unused")), progress), per_class, learn_images)
    level = outlook.level(found)
    going_on = None if level == outlook.UNKNOWN else command(given)
    if as_json:
        say_json({**found, "outlook": level, "go_on": going_on})
        return
    _print(["pictures / other real images of the same clients:"], sections.plain(sections.probe_rows(found)))
    if found["all"]["per_class"]:
        _print([f"classes of at least {found['min_images']} images at a client:"],
               sections.plain(sections.probe_class_rows(found)))  # fmt: skip
    _print(sections.probe_notes(found), [])
    for name, one in found["refused"].items():
        say(f"left out: {name}: {one['reason']}")
    for line in outlook.advice(found, command(given), command(given, ("fgl", "compare", *outlook.WITHOUT))):
        say(line)


def command(given: dict[str, Any], words: tuple[str, ...] = ("fgl", "run")) -> str:
    """The run that was probed, as a shell would take it; or another command on the same data."""
    found = [*words] + ([str(given["config"])] if given["config"] is not None else [])
    compares = words[1] == "compare"
    for key in ("preset", "generator", "prompt_strategy", "classifier", "dataset", "clients", "partition", "beta",
                "images_per_class", "seed", "device"):  # fmt: skip
        if given.get(key) is not None:
            flag = "first-seed" if compares and key == "seed" else key.replace("_", "-")
            found += [f"--{flag}", str(given[key])]
    found += [f"--{key.replace('_', '-')}" for key in ("smoke", "skip_bad_images") if given.get(key)]
    for assignment in given["set_"] or ():
        found += ["--set", assignment]
    return shlex.join(found)


def _print(lines: list[str], rows: list[str]) -> None:
    for line in (*lines, *rows):
        say(line)
    say()
