"""`fgl models verify`: whether a model's files are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._options import Json, Quiet
from fgl.commands._output import say, say_json
from fgl.commands.models import Given, Mirror, Revision, Set, refused, uses
from fgl.errors import ModelError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.options import ModelRef


def verify_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A component (fgl models list), a Hub id, or the folder of a model.")
    ],
    revision: Revision = None,
    mirror: Mirror = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a model's files: in the cache, compare them with the checksums of its commit; in a folder of yours, see
    whether weights are whole and finite."""
    from dataclasses import asdict

    from fgl import hub
    from fgl.hub import folders as hub_folders
    from fgl.hub import messages, state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    verdicts, folders = [], []
    with stdout_to_stderr():
        for use in [_of_folder(given)] if hub.is_local(name) else uses(given):
            with shown(quiet) as progress:
                if hub.is_local(use.model):
                    folders.append(hub_folders.verify_folder(Path(use.model).expanduser(), progress))
                else:
                    verdicts.append(state.verify(use, progress, given.command()))
    wrong = any(verdict.damaged or verdict.missing for verdict in verdicts)
    broken = any(found.damaged for found in folders)
    if as_json:
        rows = [{**asdict(verdict), "folder": str(verdict.folder)} for verdict in verdicts]
        rows += [{**asdict(found), "folder": str(found.folder)} for found in folders]
        say_json({"intact": not wrong and not broken, "models": rows})
    else:
        for found in folders:
            say(f"{plain(found.folder)}: {found.right} files right, {messages.size(found.read)} of weights read")
            for path, said in found.damaged:
                say(f"  {plain(path)} {plain(said)}")
        for verdict in verdicts:
            say(f"{verdict.model} at commit {verdict.commit}:")
            say(f"  {verdict.right} files right, {messages.size(verdict.read)} read")
            for what, paths in (("damaged", verdict.damaged), ("missing", verdict.missing)):
                for path in paths:
                    say(f"  {what}: {path}")
            if verdict.unknown:
                say(f"  no checksum known: {', '.join(verdict.unknown)}")
            if verdict.absent:
                say(f"  not pulled so far: {verdict.absent} files")
        if wrong:
            say(f"`{given.command()}` replaces what is damaged or missing")
    if wrong or broken:
        raise typer.Exit(ModelError.exit_code)


def _of_folder(given: Given) -> ModelRef:
    """A folder that the command line names. Raises ConfigError where it says more of it."""
    from fgl.contracts.options import ModelRef

    for flag, got in (
        ("--revision", given.revision),
        ("--mirror", ", ".join(given.mirrors)),
        ("--set", ", ".join(given.settings)),
    ):
        if got:
            raise refused(flag, got, f"expected with a component or a Hub id; {given.name} is a folder here")
    return ModelRef(given.name)
