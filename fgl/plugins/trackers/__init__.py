"""Built-in trackers: what happened, as it happened.

The hooks are called in every run, so what they need is imported when they are.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.core import strict_json
from fgl.core.errors import StoreError
from fgl.core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgl.core.types import StageContext


@hookimpl
def fgl_stage_started(context: StageContext) -> None:
    _append(context, "started")


@hookimpl
def fgl_stage_finished(context: StageContext) -> None:
    _append(context, "reused" if context.reused else "finished", seconds=context.seconds, **context.outputs)


@hookimpl
def fgl_round_finished(context: StageContext, entry: Mapping[str, Any]) -> None:
    counts = {key: len(entry[key]) for key in ("clients", "dropped", "failed")}
    numbers = {key: value for key, value in entry.items() if isinstance(value, int | float)}
    _append(context, "round", **numbers, **counts)


@hookimpl
def fgl_run_failed(context: StageContext, error: BaseException) -> None:
    _append(context, "failed", error=type(error).__name__, message=str(error))


@hookimpl
def fgl_upload_refused(context: StageContext, client_id: str, rule: str, reason: str) -> None:
    _append(context, "refused", client=client_id, rule=rule, reason=reason)


def _append(context: StageContext, event: str, **more: Any) -> None:
    """One line of RUN/metrics.jsonl. time: seconds since 1970."""
    line = {"time": round(time.time(), 3), "stage": context.stage, "event": event, **more}
    path = Path(context.run_dir) / "metrics.jsonl"
    try:
        with path.open("ab+") as file:
            if file.tell():  # a line that was cut off, by a full disk for one, is not to spoil the next
                file.seek(-1, os.SEEK_END)
                cut = file.read(1) != b"\n"
                file.write(b"\n" * cut)
            file.write((strict_json.dumps(strict_json.finite(line)) + "\n").encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
