"""`fgl quality`: how good the synthetic set is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._config import resolve
from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Features, Json, Quiet, Run, config_flags
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig


REAL = ("train", "public", "test")


@config_flags("set_", "device")
def quality_command(
    run: Run,
    *,
    features: Features = None,
    real: Annotated[
        str | None, typer.Option("--real", metavar="|".join(REAL), help="The real images to compare with.")
    ] = None,
    flags: ConfigFlags,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Compare a run's synthetic set with real images: FID, KID, coverage and its kin, and the nearest real image."""
    from fgl.core.config.saved import saved_config
    from fgl.core.preflight import open_session
    from fgl.core.report import quality
    from fgl.core.report.figures import Quality
    from fgl.core.stages import measured
    from fgl.core.store.folder_kind import has_remote_clients
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import from_json

    manager, folder = PluginManager.load(), RunDir(run)
    saved = saved_config(folder, manager)
    resolved = _measuring(manager, saved, features, real, flags)
    with stdout_to_stderr(), interruptible(run, f"fgl quality {run}"), shown(quiet) as progress, folder.lock():
        session = open_session(resolved, manager, folder, progress, remote_clients=has_remote_clients(folder))
        found = measured.quality_of(session, saved)
    if as_json:
        say_json(found)
    elif not quiet:
        figures = from_json(Quality, found)
        _print(quality.quality_notes(figures), quality.quality_table(figures).lines())
        _print(["by class, synthetic / held-out:"], quality.class_table(figures).lines())
        table = f"{run}/{figures.distances}"
        say(f"in the run's report too: {run}/report.md")
        say(f"all of it: {Path(table).with_suffix('.json')}; distances, image by image: {table}")


def _measuring(
    manager: PluginManager,
    saved: RunConfig,
    features: str | None,
    real: str | None,
    flags: ConfigFlags,
) -> RunConfig:
    """The run's own configuration with what says how to measure; anything else would be of another run."""
    from fgl.core.config.loader import expand

    layer: dict[str, Any] = {"evaluation": {"quality": True, **({"real": real} if real is not None else {})}}
    if features is not None:
        layer["features"] = expand("features", features)
    resolved, _ = resolve(manager, flags, [saved.to_dict(), layer])
    same = resolved.model_copy(
        update={"features": saved.features, "evaluation": saved.evaluation, "device": saved.device}
    )
    if same != saved:
        keys = [key for key, value in same.to_dict().items() if value != saved.to_dict()[key]]
        expected = "features.… and evaluation.… alone; a changed run is made with fgl run"
        raise ConfigError([Problem("--set", ", ".join(keys), expected)], "the command line")
    return resolved.model_copy(update={"evaluation": resolved.evaluation.model_copy(update={"at_clients": False})})


def _print(lines: list[str], rows: list[str]) -> None:
    for line in (*lines, *rows):
        say(line)
    say()
