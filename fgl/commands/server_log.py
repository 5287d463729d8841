"""`fgl server log …`: what the server's record of a run says, and whether it is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._options import Json, Run
from fgl.commands._output import say, say_json
from fgl.errors import COMMAND_LINE, ConfigError, Problem, StoreError
from fgl.text import counted, plain

if TYPE_CHECKING:
    from fgl.core.store.run_dir import RunDir


def show_command(run: Run, as_json: Json = False) -> None:
    """Say who sent what and when, what was refused and by which rule, and who was taken out, a line each."""
    from fgl.core.server import log

    entries = list(log.entries(_opened(run)))
    if as_json:
        say_json({"entries": entries})
        return
    for one in entries:
        rest = {key: value for key, value in one.items() if key not in ("entry", "time", "event") and value is not None}
        said = "; ".join(f"{key} {plain(value, 500)}" for key, value in rest.items())
        say(f"{one.get('entry')} {plain(one.get('time'), 40)} {plain(one.get('event'), 40)}: {said}")


def _opened(run: Path) -> RunDir:
    """Raises StoreError where it is no run with a record."""
    from fgl.core.store import folder_kind
    from fgl.core.store.run_dir import RunDir

    folder = RunDir(run)
    if not folder_kind.has_remote_clients(folder):
        raise StoreError(f"{run} has no server's record: it is no run whose clients are elsewhere (fgl server ingest)")
    return folder


def verify_command(
    run: Run,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="N:SHA256", help="A head that this command printed earlier, kept elsewhere."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the record was only added to: nothing cut, changed, moved, or written anew since --head.

    The record, RUN/server/log.jsonl, says who sent what and when, what was refused and by which rule, and who was taken
    out. Keep the head that is printed where the server cannot write: only a kept head tells a record that was written
    anew from a sound one."""
    from fgl.core.server import log

    folder = _opened(run)
    try:
        kept = None if head is None else log.Head.of(head)
    except ValueError as error:
        raise ConfigError([Problem("--head", head or "", str(error))], COMMAND_LINE) from None
    found = log.verify(folder, kept)
    if as_json:
        stated = {"run_id": found.run_id, "entries": found.head.entries, "head": str(found.head)}
        say_json({**stated, "events": dict(found.events), "sound": not found.wrong, "wrong": list(found.wrong)})
    else:
        events = ", ".join(f"{count:,} {event}" for event, count in sorted(found.events.items()))
        say(f"{log.path_of(folder)}: {counted(found.head.entries, 'line')}: {events}")
        for sentence in found.wrong:
            say(f"wrong: {sentence}")
        say(f"head {found.head}")
        if not found.wrong:
            again = "it is the record of that head, and what was added since" if kept else "keep the head elsewhere"
            say(f"sound: each line follows the one before it; {again}")
    if found.wrong:
        raise typer.Exit(StoreError.exit_code)
