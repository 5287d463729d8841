"""`fgl audit`: what a run reveals about the clients' images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._measure import finished_run, measuring_config
from fgl.commands._options import ConfigFlags, Features, Json, Quiet, Run, config_flags
from fgl.commands._output import say, say_json, say_text
from fgl.commands._threads import Threads
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.core.report.audit_figures import Audit
    from fgl.core.report.tables import Table


@config_flags("set_", "device")
def audit_command(
    run: Run,
    *,
    parts: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="membership, memorization, uploads. Default: all that the run allows."),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Whose classifiers: fgl, centralized, fedavg, fedprox, …")
    ] = None,
    shadows: Annotated[int | None, typer.Option(metavar="N", help="Shadow models per method, an even number.")] = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Rounds of the federated algorithms.")] = None,
    features: Features = None,
    dictionary: Annotated[
        str | None, typer.Option(metavar="FILE", help="Candidate prompts for embeddings, one per line.")
    ] = None,
    closest: Annotated[
        int | None, typer.Option(metavar="N", help="Pairs of a synthetic image and its nearest real image to show.")
    ] = None,
    flags: ConfigFlags,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Measure what a run reveals: membership inference, memorized images, and what uploads contain."""
    from fgl import plots
    from fgl.core.config.saved import saved_config
    from fgl.core.privacy import audit
    from fgl.core.store.run_dir import RunDir
    from fgl.core.store.typed import to_json

    manager, folder = PluginManager.load(), RunDir(run)
    saved = saved_config(folder, manager)
    given = {
        "parts": _list(parts),
        "methods": _list(methods),
        "shadows": shadows,
        "rounds": rounds,
        "closest": closest,
        "dictionary": dictionary,
    }
    values = {name: value for name, value in given.items() if value is not None}
    resolved = measuring_config(manager, saved, "audit", values, features, flags)
    with finished_run(resolved, manager, folder, f"fgl audit {run}", quiet) as session:
        audit.check_finished(session)
        if "membership" in audit.parts(session)[0]:
            plots.need("fgl audit, for the picture of membership,")
        found = audit.run(session, saved)
        if found.membership is not None:
            from fgl.plots.roc import save_membership

            save_membership(run / "audit", found.membership, folder.write)
    if as_json:
        say_json(to_json(found))
    elif not quiet:
        _show(run, found)


def _list(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.replace(" ", "").split(",") if name]


def _show(run: Path, audit: Audit) -> None:
    from fgl.core.report import audit as report_audit

    tables: tuple[Table, ...]
    if (membership := audit.membership) is not None:
        tables = report_audit.membership_table(membership), report_audit.gap_table(membership)
        _show_part("membership", tables, report_audit.membership_notes(membership))
    if (memorization := audit.memorization) is not None:
        tables = (report_audit.memorization_table(memorization),)
        _show_part("memorization", tables, report_audit.memorization_notes(memorization))
    if (uploads := audit.uploads) is not None:
        tables = report_audit.upload_table(uploads), report_audit.histogram_table(uploads)
        _show_part("uploads", tables, report_audit.upload_notes(uploads))
    for name, why in audit.left_out.items():
        say(f"{name} was not measured: {why}")
    picture = f", {run}/audit/roc.png" if audit.membership is not None else ""
    say(f"all of it: {run}/audit/audit.json, {run}/audit/audit.md{picture}; and in {run}/report.md")


def _show_part(name: str, tables: Sequence[Table], notes: Sequence[str]) -> None:
    say(f"{name}:")
    for table in tables:
        say_text("\n".join(table.lines()))
        say()
    for line in notes:
        say(line)
    say()
