"""`fgl quality`: how good the synthetic set is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fgl.commands._measure import finished_run, measuring_config
from fgl.commands._options import ConfigFlags, Features, Json, Quiet, Run, config_flags
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager

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
    """Compare a run's synthetic set with real images: FID, KID, coverage and similar, and the nearest real image."""
    from fgl.core.config.saved import saved_config
    from fgl.core.report import quality
    from fgl.core.report.figures import Quality
    from fgl.core.stages import measured
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import from_json

    manager, folder = PluginManager.load(), RunDir(run)
    saved = saved_config(folder, manager)
    values: dict[str, Any] = {"quality": True, **({"real": real} if real is not None else {})}
    resolved = measuring_config(manager, saved, "evaluation", values, features, flags)
    without_clients = resolved.evaluation.model_copy(update={"at_clients": False})
    resolved = resolved.model_copy(update={"evaluation": without_clients})
    with finished_run(resolved, manager, folder, f"fgl quality {run}", quiet) as session:
        result = measured.quality_of(session, saved)
    if as_json:
        say_json(result)
    elif not quiet:
        figures = from_json(Quality, result)
        _print(quality.quality_notes(figures), quality.quality_table(figures).lines())
        _print(["by class, synthetic / held-out:"], quality.class_table(figures).lines())
        table = f"{run}/{figures.distances}"
        say(f"in the run's report too: {run}/report.md")
        say(f"all of it: {Path(table).with_suffix('.json')}; distances, image by image: {table}")


def _print(lines: list[str], rows: list[str]) -> None:
    for line in (*lines, *rows):
        say(line)
    say()
