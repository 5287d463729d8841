"""How many threads torch uses: set before torch is loaded, the same for the whole of a run, and printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

_VARIABLE = "OMP_NUM_THREADS"


def choose(given: int | None, folder: Path | None) -> tuple[int, str]:
    """(threads, why so many). given: by --threads. folder: of a run that may have been started already.

    Another number of threads rounds differently, so a run keeps the number it was started with. By default: one for
    each idle core, at least one. Threads that share a core wait for each other: two of them on two busy cores train at
    a fifteenth of the speed of one (benchmarks/threads.py)."""
    if given is not None:
        most = usable_cores()
        return min(given, most), "--threads" if given <= most else f"--threads {given}: there are {most} cores"
    variable = os.environ.get(_VARIABLE, "")
    if variable.isdecimal() and int(variable):
        return int(variable), _VARIABLE
    recorded = _recorded(folder)
    if recorded is not None:
        return min(recorded, usable_cores()), "as the run was started"
    cores, load = usable_cores(), os.getloadavg()[0]
    reason = f"of {cores} cores, load {load:.1f}; --threads N for another number"
    return idle(cores, load, os.cpu_count() or cores), reason


def idle(cores: int, load: float, machine: int) -> int:
    """Threads for a process that may use `cores` of the `machine` cores of a machine with this load average."""
    return max(1, min(cores, round(cores * (1 - load / machine))))


def usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _recorded(folder: Path | None) -> int | None:
    """Threads that a run was started with, None where its directory has no record of them."""
    from fgl.io import files, strict_json

    if folder is None:
        return None
    # a comparison has a run below it for each seed
    for path in (folder / "environment.json", *sorted(folder.glob("*/environment.json"))[:1]):
        try:
            threads = strict_json.loads(files.read_bytes(path))["threads"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if type(threads) is int and 0 < threads <= 1024:
            return threads
    return None


def _use(context: typer.Context, given: int | None) -> int | None:
    """Called when the command line is read, before anything imports torch."""
    if context.resilient_parsing:  # a shell wants completions
        return given
    folder = next((context.params[key] for key in ("resume", "out", "run") if context.params.get(key)), None)
    count, why = choose(given, None if folder is None else Path(str(folder)))
    os.environ[_VARIABLE] = str(count)
    torch: Any = sys.modules.get("torch")
    if torch is not None:  # a program that calls the command line
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
        help="Threads of torch on the CPU. Default: one for each idle core; a resumed run keeps its number.",
    ),
]
"""The last parameter of a command: its callback needs those before it, and Typer reads them in order."""
