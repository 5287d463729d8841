"""`fgl server synthesize`: a part of a run's synthetic set, for arrays of jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.commands._options import Json, Quiet, Run, Wait
from fgl.commands._output import say, say_json
from fgl.commands._threads import Threads
from fgl.errors import COMMAND_LINE, ConfigError, Problem
from fgl.text import counted

Rank = Annotated[int, typer.Option("--rank", metavar="I", min=0, help="Which part: 0 to N - 1.")]
World = Annotated[int, typer.Option("--world", metavar="N", min=1, help="Into how many parts the shards are divided.")]


def server_synthesize_command(
    run: Run,
    *,
    rank: Rank = 0,
    world: World = 1,
    wait: Wait = 600.0,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Fill every N-th shard of a run's synthetic set, beside other processes that fill the others.

    The first of them does what comes before. Called again, it fills what is missing; then the run is completed by
    `fgl server run`, or `fgl run --resume` where clients are simulated."""
    from fgl.core.orchestrator import reopen
    from fgl.core.stages.part import synthesize_part
    from fgl.core.store.typed import to_json

    if rank >= world:
        expected = f"expected at most {world - 1}: ranks count from 0, and --world is {world}"
        raise ConfigError([Problem("--rank", str(rank), expected)], COMMAND_LINE)
    command = f"fgl server synthesize {run} --rank {rank} --world {world}"
    with stdout_to_stderr(), interruptible(run, command), shown(quiet) as progress:
        session = reopen(run, progress)
        result = synthesize_part(session, rank, world, wait)
    if as_json:
        say_json({"rank": rank, "world": world, **to_json(result)})
        return
    say(f"part {rank + 1} of {world}: {counted(result.shards, 'shard')} filled, {counted(result.images, 'image')} made")
    complete = f"fgl server run {run}" if session.remote_clients else f"fgl run --resume {run}"
    say(
        f"{counted(result.missing, 'shard')} of the run still missing"
        if result.missing
        else f"all shards are there: {complete}"
    )
