"""The command line: builds the app, mounts the commands, maps errors to exit codes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fgl.commands import _errors, _output
from fgl.commands._console import INTERRUPTED, stdout_to_stderr
from fgl.commands._help import EPILOG, OrderedGroup, PlainGroup, command_class
from fgl.commands._table import NAMES, PLUGINS_PANEL, Group, rows
from fgl.core.plugin_manager import DIRECTORY, PluginManager
from fgl.errors import COMMAND_LINE, ConfigError, FGLError, Problem
from fgl.text import lines

if TYPE_CHECKING:
    from typer.core import TyperCommand

# ClickException, of click or of the copy that typer has of it
_USAGE = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])


def build(manager: PluginManager) -> typer.Typer:
    """The app: fgl's own commands, and those of every plugin under the plugin's name."""
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
    _mount_own(app, manager)
    _mount_plugins(app, manager)
    return app


def main() -> None:
    """Entry point. Every error ends with an exit code and a message on stderr; see `fgl.commands._errors`."""
    with _output.prepared():
        sys.exit(_exit_code())


def _mount_own(app: typer.Typer, manager: PluginManager) -> None:
    command_type = command_class(manager.registry)
    for panel, name, entry in rows():
        if not isinstance(entry, Group):
            app.command(name, cls=command_type, rich_help_panel=panel)(entry)
            continue
        app.add_typer(_group(entry, command_type), name=name, rich_help_panel=panel)


def _group(entry: Group, command_type: type[TyperCommand]) -> typer.Typer:
    """A group with its commands, and the groups in it."""
    group = typer.Typer(help=entry.help, no_args_is_help=True, cls=PlainGroup)
    for subcommand, inner in entry.commands.items():
        if isinstance(inner, Group):
            group.add_typer(_group(inner, command_type), name=subcommand)
        else:
            group.command(subcommand, cls=command_type)(inner)
    return group


def _mount_plugins(app: typer.Typer, manager: PluginManager) -> None:
    """A plugin that fails, or whose name is taken, costs its own commands and a warning."""
    for name, register in manager.commands():
        if name in NAMES:  # typer would let the plugin's group replace the command
            warning = f"plugin {name!r} has the name of a command of fgl: its own commands are left out"
            _output.note(f"warning: {warning}", "yellow")
            continue
        group = typer.Typer(help=f"Commands of the plugin {name}.", no_args_is_help=True, cls=PlainGroup)
        try:
            register(group)
        except (Exception, SystemExit) as error:
            _output.note(f"warning: plugin {name!r} could not add its commands: {error}", "yellow")
            continue
        app.add_typer(group, name=name, rich_help_panel=PLUGINS_PANEL)


def _exit_code() -> int:
    """Run the command that was typed."""
    manager = None
    try:
        _take_plugins_dir(sys.argv)
        with stdout_to_stderr():
            manager = PluginManager.load()
            app = build(manager)
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _USAGE as error:
        from typer import rich_utils

        error.message = lines(error.message)  # a file called --\x1b[31m is an option that does not exist
        rich_utils.rich_format_error(error)
        _errors.say_json_error("UsageError", error.format_message(), error.exit_code)
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except FGLError as error:
        return _errors.report(error)
    except Exception as error:
        return _errors.report(error, manager.blamed(error) if manager is not None else None)


def _take_plugins_dir(words: list[str]) -> None:
    """`fgl --plugins-dir DIR …`: before any command is known, since plugins have commands too. Child processes inherit
    it."""
    if len(words) > 1 and words[1].startswith("--plugins-dir"):
        option, given, folder = words[1].partition("=")
        if option != "--plugins-dir":
            return
        if not given:
            if len(words) < 3:
                expected = "expected a folder: fgl --plugins-dir DIR COMMAND"
                raise ConfigError([Problem("--plugins-dir", "nothing", expected)], COMMAND_LINE)
            folder = words.pop(2)
        os.environ[DIRECTORY] = folder
        words.pop(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fgl import __version__

        _output.say(__version__)
        raise typer.Exit


def version_option(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    plugins_dir: Annotated[
        str | None,
        typer.Option("--plugins-dir", metavar="DIR", help="Plugins of a single file, in DIR; comes before COMMAND."),
    ] = None,
) -> None:
    pass
