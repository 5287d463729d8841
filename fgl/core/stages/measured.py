"""What was measured on a finished run by a command of its own (`fgl quality`, `fgl audit`), in the run's report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.report import privacy_statement, run
from fgl.core.report.audit_figures import Audit, Audited
from fgl.core.report.figures import Quality
from fgl.core.report.schema import RunReport
from fgl.core.stages import clients, export, features, quality, synthesize
from fgl.core.store.typed import JsonObject, from_json, to_json
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.session import Session


def qualities(session: Session, synthetic_digest: str) -> JsonObject:
    """Label → what `fgl quality` found, of this synthetic set and of the clients that still take part; without the
    run's own measurement, which has a place of its own."""
    own = features.label_of(session) if session.config.evaluation.quality else None
    found = {}
    for path in sorted(session.run.path("stages").glob("quality-*.json")):
        label = path.stem.removeprefix("quality-")
        record = session.run.recorded(f"quality:{label}")
        if record is None or label == own or record["inputs"].get("synthetic") != synthetic_digest:
            continue
        of_clients = record["inputs"].get("real") == "train"
        if not of_clients or record["inputs"].get("forgotten", []) == list(session.removed_clients):
            found[label] = record["value"]
    return found


def quality_of(session: Session, saved: RunConfig) -> JsonObject:
    """What `fgl quality` does: measure a finished run's synthetic set, and put the figures into its report. saved: the
    run's own configuration. Raises StoreError where the synthetic set is not complete."""
    found = quality.measure_run(session)
    if session.run.path("report.json").exists():  # a run that is not complete will have these figures in its report
        own = replace(session, config=saved)
        of_set = qualities(own, found.synthetic_digest)
        beside = {label: from_json(Quality, one) for label, one in of_set.items()}
        into_report(own, lambda report: replace(report, quality_beside=beside))
    result: JsonObject = to_json(found)
    return result


def audited(session: Session) -> Audited:
    """Digests of what an audit examines, uploads, synthetic set and classifier, as their stages recorded them."""
    uploads, synthetic = (session.run.recorded(one.STAGE.name) for one in (clients, synthesize))
    model = session.run.recorded(export.STAGE.name)
    return Audited(
        uploads=None if uploads is None else uploads["value"]["uploads"],
        synthetic=None if synthetic is None else synthetic["value"]["digest"],
        model=None if model is None else model["inputs"]["model"],
    )


def kept_audit(session: Session, of: Audited) -> Audit | None:
    """What `fgl audit` measured; None if there was no audit, or one of other files. of: see `audited`."""
    kept = session.run.read_sealed(session.run.path("audit", "audit.json"))
    return from_json(Audit, kept) if kept is not None and kept.get("of") == to_json(of) else None


def into_report(session: Session, change: Callable[[RunReport], RunReport]) -> None:
    """Change report.json and report.md of a run. session: with the run's own configuration.

    Raises StoreError where there is no report, or a damaged one."""
    path = session.run.path("report.json")
    try:
        report = change(RunReport.from_dict(session.run.read_json(path)))
        # what was measured may have read clients' images
        report = replace(report, privacy=privacy_statement.summary(privacy_statement.of(session)))
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} is damaged or gone: run again, then measure again: what was measured is kept"
        ) from error
    sheets: list[Path] = sorted(path for path in session.run.owned("sheets") if path.exists())
    session.run.write(session.run.path("report.md"), run.markdown(session, report, sheets).encode())
    session.run.write_json(path, report.to_dict())
