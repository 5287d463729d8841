"""`fgl stages`: which stages of a run are done, and which are stale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgl.commands._config import resolve
from fgl.commands._console import stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Run, config_flags
from fgl.commands._output import say_columns, say_json
from fgl.core.plugin_manager import PluginManager


@config_flags("set_")
def stages_command(
    run: Run,
    *,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this configuration instead of the run's own.")
    ] = None,
    flags: ConfigFlags,
    as_json: Json = False,
) -> None:
    """Print which stages of a run are done, which would be recomputed, and why."""
    from dataclasses import asdict

    from fgl.contracts.progress import NullProgress
    from fgl.core.config.loader import read_yaml
    from fgl.core.config.saved import saved_config
    from fgl.core.preflight import open_session
    from fgl.core.report.tables import Table
    from fgl.core.status import stages
    from fgl.core.store.folder_kind import has_remote_clients, refuse_outdated
    from fgl.core.store.run_dir import RunDir

    manager, folder = PluginManager.load(), RunDir(run)
    refuse_outdated(run)
    layer = read_yaml(config) if config is not None else saved_config(folder, manager).to_dict()
    resolved, _ = resolve(manager, flags, [layer])
    with stdout_to_stderr():
        session = open_session(resolved, manager, folder, NullProgress(), remote_clients=has_remote_clients(folder))
        statuses = list(stages(session))
    if as_json:
        say_json({"stages": [asdict(status) for status in statuses]})
        return
    rows = [
        (status.stage, status.state, f"{status.seconds:.1f} s" if status.state != "not done" else "", status.why)
        for status in statuses
    ]
    say_columns(Table(("", "", "", ""), rows, "llrl"))
