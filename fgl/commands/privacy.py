"""`fgl privacy`: what may be said of a run's privacy."""

from __future__ import annotations

from fgl.commands._options import Json, Run
from fgl.commands._output import say, say_columns, say_json
from fgl.core.plugin_manager import PluginManager


def privacy_command(run: Run, as_json: Json = False) -> None:
    """Print who is protected from whom in a run, at which epsilon, what it was spent on, and what is not covered."""
    from fgl.core.config.saved import saved_config
    from fgl.core.report import privacy_statement
    from fgl.core.report.tables import Table
    from fgl.core.store.folder_kind import has_remote_clients
    from fgl.core.store.run_dir import RunDir

    manager, folder = PluginManager.load(), RunDir(run)
    config = saved_config(folder, manager)
    found = privacy_statement.statement(config, folder, manager.registry, has_remote_clients(folder))
    if as_json:
        say_json(privacy_statement.to_json(found))
        return
    for line in privacy_statement.in_words(found):
        say(line)
    if found.clients:
        say()
        heads = ("client", "answer", "level", "epsilon", "in all")
        say_columns(Table(heads, privacy_statement.rows(found), "lllrr"))
