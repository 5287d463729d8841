"""The command line: builds the app, mounts the commands, maps errors to exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, cast

import typer

from fgl.commands import (
    _errors,
    _output,
    _verify,
    audit,
    client,
    compare,
    config,
    datasets,
    digest,
    models,
    partition,
    plugins,
    presets,
    probe,
    quality,
    run,
    server,
    stages,
    sweep,
)
from fgl.commands._console import INTERRUPTED, stdout_to_stderr
from fgl.commands._help import EPILOG, PANELS, PLUGINS_PANEL, OrderedGroup, PlainGroup, command_class, panel_of
from fgl.commands._loading import announced
from fgl.core.plugin_manager import PluginManager
from fgl.text import lines

_OWN_COMMANDS = tuple(name for names in PANELS.values() for name in names)
# These import what takes seconds; the others answer at once.
_SLOW: dict[str, Callable[..., None]] = {
    "run": run.run_command,
    "stages": stages.stages_command,
    "digest": digest.digest_command,
    "compare": compare.compare_command,
    "sweep": sweep.sweep_command,
    "quality": quality.quality_command,
    "probe": probe.probe_command,
    "audit": audit.audit_command,
    "partition": partition.partition_command,
}
_GROUPS: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
    ("config", "Look at configurations.", {"show": config.config_show}),
    ("plugins", "Look at plugins.", {"list": plugins.plugins_list, "show": plugins.plugins_show}),
    ("presets", "Experiments that are ready by name.", {"list": presets.list_command, "show": presets.show_command}),
    ("datasets", "Look at data.", {"check": announced(datasets.check_command)}),
    (
        "models",
        "Foundation models on this machine.",
        {
            "list": models.list_command,
            "pull": models.pull_command,
            "verify": _verify.verify_command,
            "path": models.path_command,
        },
    ),
    (
        "client",
        "A client on a machine of its own.",
        {"prepare": announced(client.prepare_command), "show": client.show_command},
    ),
    (
        "server",
        "A server whose clients are elsewhere.",
        {
            "ingest": announced(server.ingest_command),
            "run": announced(server.run_command),
            "forget": announced(server.forget_command),
        },
    ),
)

# ClickException, of click or of the copy that typer has of it
_USAGE = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])


def build(manager: PluginManager) -> typer.Typer:
    """The app with the commands of every plugin mounted under the plugin's name."""
    app = typer.Typer(
        name="fgl",
        cls=OrderedGroup,
        help="Federated generative learning: clients upload prompt embeddings, a server synthesizes the training set.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(version_option)
    plain = command_class(manager.registry)
    for name, function in _SLOW.items():
        app.command(name, cls=plain, rich_help_panel=panel_of(name))(announced(function))
    for name, text, commands in _GROUPS:
        group = typer.Typer(help=text, no_args_is_help=True, cls=PlainGroup)
        for command, function in commands.items():
            group.command(command, cls=plain)(function)
        app.add_typer(group, name=name, rich_help_panel=panel_of(name))
    for name, register in manager.commands():
        if name in _OWN_COMMANDS:  # typer would let the plugin's group replace the command
            said = f"warning: plugin {name!r} has the name of a command of fgl: its own commands are left out"
            _output.note(said, "yellow")
            continue
        mounted = typer.Typer(help=f"Commands of the plugin {name}.", no_args_is_help=True, cls=PlainGroup)
        try:
            register(mounted)
        except (Exception, SystemExit) as error:
            said = f"warning: plugin {name!r} could not add its commands: {error}"
            _output.note(said, "yellow")
            continue
        app.add_typer(mounted, name=name, rich_help_panel=PLUGINS_PANEL)
    return app


def main() -> None:
    """Entry point. Every error ends with an exit code and a message on stderr; see `fgl.commands._errors`."""
    with _output.prepared():
        sys.exit(_called())


def _called() -> int:
    """Run the command that was typed; returns its exit code."""
    try:
        with stdout_to_stderr():
            app = build(PluginManager.load())
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _USAGE as error:
        from typer import rich_utils

        error.message = lines(error.message)  # a file called --\x1b[31m is an option that there is not
        rich_utils.rich_format_error(error)
        _errors.told("UsageError", error.format_message(), error.exit_code)
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        return _errors.failed(error)


def _print_version(asked: bool) -> None:
    if asked:
        from fgl import __version__

        _output.say(__version__)
        raise typer.Exit


def version_option(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass
