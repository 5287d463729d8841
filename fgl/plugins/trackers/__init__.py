"""Built-in trackers: what happened, as it happened.

RUN/metrics.jsonl is written by hooks, which are called in every run, so what they need is imported when they are. The
others are components, which a configuration lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl import hookimpl
from fgl.contracts.component import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgl.contracts.events import StageContext


@hookimpl
def fgl_trackers() -> list[Component]:
    return [
        Component(
            name="csv",
            target="fgl.plugins.trackers.csv_table:CsvTable",
            options="fgl.plugins.trackers.options:CsvOptions",
            summary="A table of all numbers, one a row, for spreadsheets and pandas: RUN/trackers/csv/events.csv.",
        )
    ]


@hookimpl
def fgl_stage_started(context: StageContext) -> None:
    _append(context, "started")


@hookimpl
def fgl_stage_finished(context: StageContext) -> None:
    _append(context, "reused" if context.reused else "finished", seconds=context.seconds, **context.outputs)


@hookimpl
def fgl_round_finished(context: StageContext, entry: Mapping[str, Any]) -> None:
    counts = {key: len(entry[key]) for key in ("clients", "dropped", "failed")}
    if rule := entry.get("rule"):
        counts |= {"left_out": len(rule["left_out"]), "scaled": len(rule["scaled"])}
    numbers = {key: value for key, value in entry.items() if isinstance(value, int | float)}
    _append(context, "round", **numbers, **counts)


@hookimpl
def fgl_run_failed(context: StageContext, error: BaseException) -> None:
    _append(context, "failed", error=type(error).__name__, message=str(error))


@hookimpl
def fgl_upload_refused(context: StageContext, client_id: str, rule: str, reason: str) -> None:
    _append(context, "refused", client=client_id, rule=rule, reason=reason)


@hookimpl
def fgl_upload_accepted(context: StageContext, client_id: str, sha256: str, size: int) -> None:
    _append(context, "accepted", client=client_id, sha256=sha256, bytes=size)


@hookimpl
def fgl_client_forgotten(context: StageContext, client_id: str) -> None:
    _append(context, "forgotten", client=client_id)


def _append(context: StageContext, event: str, **more: Any) -> None:
    """One line of RUN/metrics.jsonl."""
    from fgl.io import event_log

    event_log.append(Path(context.run_dir), {"stage": context.stage, "event": event, **more})
