"""`fgl partition`: what each client would hold, as a table and as a heat map."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fgl.commands import _preset
from fgl.commands._config import configure
from fgl.commands._console import shown, stdout_to_stderr
from fgl.commands._options import ConfigFlags, Json, Quiet, config_flags
from fgl.commands._output import note, say, say_json
from fgl.core.plugin_manager import PluginManager

_NOTHING = "·"
_ALL = "all"


@config_flags(
    "config",
    "preset",
    "smoke",
    "dataset",
    "clients",
    "partition",
    "beta",
    "seed",
    "skip_bad_images",
    "set_",
)
def partition_command(
    flags: ConfigFlags,
    *,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a heat map: a .png or a .svg (extra: plots).")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a file at --plot that fgl did not draw.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print how many samples of each class every client would hold; nothing is run."""
    from fgl.core.experiments.dataset_check import divide

    if plot is not None:
        from fgl import plots

        plots.check(plot, "--plot", replace)
    manager = PluginManager.load()
    resolved, _, chosen = configure(manager, flags, "fgl partition")
    with stdout_to_stderr(), shown(quiet or as_json) as progress, _preset.explained(chosen, "fgl partition"):
        division = divide(resolved, manager, progress)
    if chosen is not None:
        division["preset"] = chosen.summary()
    if plot is not None:
        _draw(division, plot.expanduser())
    if as_json:
        say_json({**division, "plot": None if plot is None else str(plot)})
        return
    if quiet:
        return
    for line in _lines(division):
        say(line)
    if plot is not None:
        say(f"drawn: {plot}")


def _in_words(division: dict[str, Any]) -> str:
    """The partition in words."""
    partition = division["partition"]
    beta = f" {partition['beta']:g}" if "beta" in partition else ""
    return (
        f"{division['dataset']}, {partition['name']}{beta}, {len(division['samples'])} clients, seed {division['seed']}"
    )


def _lines(division: dict[str, Any]) -> list[str]:
    names, samples = division["class_names"], division["samples"]
    lines = [_in_words(division), *(division["preset"]["notes"] if "preset" in division else ()), ""]
    lines += _table("class", names, {client: dict(zip(names, row, strict=True)) for client, row in samples.items()})
    if division["domains"]:
        domains = sorted({domain for held in division["domains"].values() for domain in held})
        lines += ["", *_table("domain", domains, division["domains"])]
    return lines


def _table(what: str, rows: list[str], columns: dict[str, dict[str, int]]) -> list[str]:
    """Clients side by side, as many as fit on a line, with sums; further ones below."""
    from fgl.core.report.tables import Table

    sums = {client: sum(held.values()) for client, held in columns.items()}
    count = _clients_a_line((what, _ALL, *rows), sums)
    clients, lines = list(columns), list[str]()
    for start in range(0, len(clients), count):
        shown = clients[start : start + count]
        cells = [[name, *(_cell(columns[client].get(name, 0)) for client in shown)] for name in rows]
        cells.append([_ALL, *(f"{sums[client]:,}" for client in shown)])
        head = [what, *shown]
        if start + count >= len(clients):  # the last of them, with the sums over all clients
            totals = [sum(held.get(name, 0) for held in columns.values()) for name in rows]
            head.append(_ALL)
            for row, total in zip(cells, (*totals, sum(sums.values())), strict=True):
                row.append(f"{total:,}")
        lines += [*([""] if start else []), *Table(head, cells).lines()]
    return lines


def _clients_a_line(names: Sequence[str], sums: Mapping[str, int]) -> int:
    """names: of the first column. sums: of each client."""
    gap = 2
    wide = _terminal() - max(map(len, names)) - len(f"{sum(sums.values()):,}") - gap
    each = max(len(f"{max(sums.values()):,}"), *map(len, sums)) + gap
    return max(1, wide // each)


def _cell(count: int) -> str:
    return f"{count:,}" if count else _NOTHING


def _terminal() -> int:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 150


def _draw(division: dict[str, Any], path: Path) -> None:
    import numpy as np

    from fgl.plots.heatmap import save_heatmap

    clients = list(division["samples"])
    if division["domains"]:  # a client that holds one domain is labelled with it
        clients = [
            f"{client} ({next(iter(held))})"
            if len(held := division["domains"][client]) == 1 and client not in held
            else client
            for client in clients
        ]
    counts = np.asarray(list(division["samples"].values()), dtype=np.int64)
    title = f"Samples of each client: {_in_words(division)}"
    if not save_heatmap(path, counts, clients, division["class_names"], title, ("client", "class")):
        text = "no installed font has all letters of these names, so some are boxes; a .svg uses its viewer's fonts"
        note(f"note: {text}", "yellow")
