"""`fgl models …`: foundation models on this machine: what there is, what a pull would cost, what is intact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._models import Given, catalogue, file_patterns, of_folder, uses
from fgl.commands._options import Json, Quiet
from fgl.commands._output import note, say, say_json
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ModelError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.contracts.options import ModelRef
    from fgl.hub.sources import Plan
    from fgl.hub.state import State


Name = Annotated[str, typer.Argument(metavar="NAME", help="A component (fgl models list), or a Hub id: owner/name.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="family.option=value", help="The component's options, as for fgl run; repeatable."),
]
Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit; for a Hub id. Components have an option.")
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OWNER/NAME[@REV]", help="A copy to use if the Hub does not have the model; for a Hub id; repeatable."
    ),
]
EncoderOnly = Annotated[
    bool, typer.Option("--encoder-only", help="Only what a client needs, without the part that makes images.")
]


def list_command(as_json: Json = False) -> None:
    """Print the components that need a model: how much of it is in the cache, and what a pull would download."""
    from huggingface_hub import constants

    from fgl import hub
    from fgl.hub import messages, state

    ask, rows = True, []
    with stdout_to_stderr():
        for family, name, use, problem in catalogue(PluginManager.load()):
            row: dict[str, Any] = {"name": name, "family": family, "problem": problem}
            if use is not None:
                if hub.is_local(use.model):
                    row |= _folder_row(use)
                else:
                    status = state.state(use, ask=ask, command=messages.pull_command(name))
                    if ask and not status.reachable:  # then other models are not reachable either
                        note(f"note: {status.why}")
                        ask = False
                    row |= _row(use, status)
            rows.append(row)
    where = {"cache": constants.HF_HUB_CACHE, "endpoint": constants.ENDPOINT, "offline": constants.HF_HUB_OFFLINE}
    if as_json:
        say_json({**where, "models": rows})
        return
    for row in rows:
        if row["problem"]:
            say(f"{row['name']} ({row['family']}): {row['problem']}")
            continue
        say(f"{row['name']} ({row['family']}): {row['model']}")
        for key, text in _details(row):
            say(f"    {key:<9} {text}")
    say(f"cache: {where['cache']}")


def pull_command(
    name: Name,
    encoder_only: EncoderOnly = False,
    update: Annotated[
        bool, typer.Option("--update", help="Move the lock to the Hub's current commit, and pull that.")
    ] = False,
    revision: Revision = None,
    mirror: Mirror = None,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download a model: sizes first; interrupted downloads resume; checksums are compared."""
    from fgl import hub
    from fgl.hub import messages, pulling, state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    command = given.command(encoder_only=encoder_only, update=update)
    results = []
    with stdout_to_stderr():
        for use in uses(given, ask=True, update=update):
            if hub.is_local(use.model):
                results.append({**_folder_row(use), "downloaded": 0})
                continue
            plans: list[Plan] = []
            patterns = file_patterns(use, encoder_only)
            with interruptible(Path(), command), shown(quiet) as progress:

                def announce(plan: Plan, plans: list[Plan] = plans) -> None:
                    plans.append(plan)
                    if not quiet:
                        _announce(plan)

                path = pulling.pull(
                    use.model,
                    use.revision,
                    patterns,
                    use.mirrors,
                    update=update,
                    progress=progress,
                    announce=announce,
                    command=command,
                )
            status = state.state(use, ask=False)
            downloaded = sum(plan.needed for plan in plans)
            row = {**_row(use, status), "commit": path.name, "folder": str(path)}
            results.append({**row, "downloaded": downloaded})
    if as_json:
        say_json({"models": results})
        return
    for row in results:
        if row["how"] == "folder":
            say(f"{row['model']}: a folder of yours, nothing to pull")
            continue
        got = f"{messages.size(row['downloaded'])} downloaded" if row["downloaded"] else "nothing to download"
        say(f"{row['repository']}: {got}, {_revision(row)}")
        say(row["folder"])


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
    """Read a model's files: in the cache, compare them with the checksums of its commit; in a folder of yours, check
    that weights are whole and finite."""
    from dataclasses import asdict

    from fgl import hub
    from fgl.hub import folders as hub_folders
    from fgl.hub import messages, state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    verdicts, folders = [], []
    with stdout_to_stderr():
        for use in [of_folder(given)] if hub.is_local(name) else uses(given):
            with shown(quiet) as progress:
                if hub.is_local(use.model):
                    folders.append(hub_folders.verify_folder(Path(use.model).expanduser(), progress))
                else:
                    verdicts.append(state.verify(use, progress, given.command()))
    wrong = any(verdict.damaged or verdict.missing for verdict in verdicts)
    broken = any(folder.damaged for folder in folders)
    if as_json:
        rows = [{**asdict(verdict), "folder": str(verdict.folder)} for verdict in verdicts]
        rows += [{**asdict(folder), "folder": str(folder.folder)} for folder in folders]
        say_json({"intact": not wrong and not broken, "models": rows})
    else:
        for folder in folders:
            say(f"{plain(folder.folder)}: {folder.right} files right, {messages.size(folder.read)} of weights read")
            for path, problem in folder.damaged:
                say(f"  {plain(path)} {plain(problem)}")
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


def path_command(
    name: Name,
    encoder_only: EncoderOnly = False,
    revision: Revision = None,
    mirror: Mirror = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Print the folder of a model that has been pulled. Works offline."""
    from fgl import hub
    from fgl.hub import state

    given = Given(name, revision, tuple(mirror or ()), tuple(set_ or ()))
    command = given.command(encoder_only=encoder_only)
    rows = []
    for use in uses(given):
        if hub.is_local(use.model):
            rows.append(_folder_row(use))
            continue
        folder = state.folder_of(use, file_patterns(use, encoder_only), command)
        if folder is None:
            raise ModelError(f"model: {use.model} is not in the cache, or incomplete: `{command}`")
        rows.append({**_row(use, state.state(use, ask=False)), "commit": folder.name, "folder": str(folder)})
    if as_json:
        say_json({"models": rows})
        return
    for row in rows:
        say(row["folder"])


def _announce(plan: Plan) -> None:
    from fgl.hub.messages import size

    lines = [f"{plan.model} at commit {plan.commit} ({plan.how}): {len(plan.missing)} of {len(plan.files)} files"]
    lines += [f"  {size(file.size):>10}  {file.path}" for file in plan.missing]
    whole = sum(file.size for file in plan.missing)
    present = f" (another {size(whole - plan.needed)} is on this machine already)" if whole > plan.needed else ""
    lines += [f"to download: {size(plan.needed)}{present}", f"to {plan.folder}, {size(plan.free)} free"]
    for line in lines:
        note(line)


def _row(use: ModelRef, status: State) -> dict[str, Any]:
    """repository: where the model comes from, itself or a mirror. how: pinned, locked, none, or folder."""
    return {
        "model": use.model,
        "revision": use.revision,
        "mirrors": list(use.mirrors),
        "license": use.license,
        "repository": status.model,
        "how": status.how,
        "commit": status.commit,
        "cache": status.cache,
        "cached_bytes": status.cached,
        "client_bytes": status.client,
        "all_bytes": status.all,
        "why": status.why,
        "folder": None if status.folder is None else str(status.folder),
    }


def _folder_row(use: ModelRef) -> dict[str, Any]:
    return {"model": use.model, "how": "folder", "folder": str(Path(use.model).expanduser()), "license": use.license}


def _revision(row: dict[str, Any]) -> str:
    if row["how"] == "pinned":
        return f"pinned to {row['commit']}"
    if row["how"] == "locked":
        return f"locked to {row['commit']} on first pull"
    return "neither pinned nor locked: the first pull locks it"


def _details(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(label, text) of each line about a model in the list."""
    from fgl.hub.messages import size

    if row["how"] == "folder":
        yield "folder", row["folder"]
        return
    named = f"{row['revision']}: " if row["revision"] and row["how"] != "pinned" else ""
    yield "revision", named + _revision(row)
    if row["repository"] != row["model"]:
        yield "mirror", f"{row['repository']} is in the cache in its place"
    extent = {"all": "all", "client": "what a client needs", "part": "a part", "no": "nothing"}[row["cache"]]
    yield "cache", f"{extent}, {size(row['cached_bytes'])}" if row["cached_bytes"] else extent
    if row["all_bytes"] is None:
        yield "download", f"size unknown: {row['why'].partition(';')[0]}"
    else:
        client = "" if row["client_bytes"] is None else f"{size(row['client_bytes'])} for a client, "
        yield "download", f"{client}{size(row['all_bytes'])} for all"
    yield "license", row["license"]
