"""How many threads torch computes with: set before it is loaded, the same for a run's whole life, and said."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

_VARIABLE = "OMP_NUM_THREADS"


def choose(given: int | None, folder: Path | None) -> tuple[int, str]:
    """(threads, why so many). given: by the user. folder: of a run that may have begun.

    Another number of threads rounds otherwise, so a run goes on with what it began with. Without a word from anybody:
    one for each core that is idle, one at least. Threads that have to share a core wait for each other: two of them on
    two busy cores train a fifteenth of what one does (benchmarks/threads.py)."""
    if given is not None:
        most = usable_cores()
        return min(given, most), "--threads" if given <= most else f"--threads {given}: there are {most} cores"
    said = os.environ.get(_VARIABLE, "")
    if said.isdecimal() and int(said):
        return int(said), _VARIABLE
    begun = _begun(folder)
    if begun is not None:
        return min(begun, usable_cores()), "as the run began"
    cores, load = usable_cores(), os.getloadavg()[0]
    return idle(
        cores, load, os.cpu_count() or cores
    ), f"of {cores} cores, load {load:.1f}; --threads N for another number"


def idle(cores: int, load: float, machine: int) -> int:
    """Threads for `cores` that this process may use, of a machine of `machine` cores with that load average."""
    return max(1, min(cores, round(cores * (1 - load / machine))))


def usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _begun(folder: Path | None) -> int | None:
    """Threads that a run directory says it began with, None where it says nothing."""
    from fgl.io import files, strict_json

    if folder is None:
        return None
    # a comparison has a run for each seed below it
    for path in (folder / "environment.json", *sorted(folder.glob("*/environment.json"))[:1]):
        try:
            said = strict_json.loads(files.read_bytes(path))["threads"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if type(said) is int and 0 < said <= 1024:
            return said
    return None


def _use(context: typer.Context, given: int | None) -> int | None:
    """Called when the command line is read, before anything imports torch."""
    if context.resilient_parsing:  # a shell asks for completions
        return given
    folder = next((context.params[key] for key in ("resume", "out", "run") if context.params.get(key)), None)
    count, why = choose(given, None if folder is None else Path(str(folder)))
    os.environ[_VARIABLE] = str(count)
    torch: Any = sys.modules.get("torch")
    if torch is not None:  # a program that calls the command line from within
        torch.set_num_threads(count)
    if not any(context.params.get(key) for key in ("quiet", "as_json")):
        typer.echo(f"{count} thread{'s' * (count != 1)} ({why})", err=True)
    return given


Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1024,
        callback=_use,
        help="Threads of torch on the CPU. Default: one for each idle core; a run goes on with what it began with.",
    ),
]
"""The last parameter of a command: what is not given is looked at in the order of the parameters."""
