"""What happens in a run, passed on to the hooks of plugins and to the trackers that the configuration lists.

Neither can end a run: what they raise is a warning, once for each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.events import RunContext, StageContext
from fgl.contracts.tracker import Event, EventKind
from fgl.errors import FGLError
from fgl.io import files, strict_json
from fgl.text import kind_and_line

if TYPE_CHECKING:
    from fgl.contracts.tracker import Tracker
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.store.run_dir import RunDir

log = logging.getLogger(__name__)
FOLDER = "trackers"
"""Folder of a run directory in which each tracker has one of its own."""


class Events:
    """The events of one run. Hooks hear all of them; trackers those between `run_started` and the run's end."""

    def __init__(self, manager: PluginManager, run: RunDir, config: RunConfig) -> None:
        self._manager, self._run, self._config = manager, run, config
        self._trackers: dict[str, Tracker] = {}

    def run_started(self) -> None:
        context = self._context()
        self._manager.notify("fgl_run_started", context=context)
        for chosen in self._config.trackers:
            self._try(chosen.name, partial(self._start, chosen, context))

    def run_finished(self, report: Mapping[str, Any]) -> None:
        self._manager.notify("fgl_run_finished", context=self._context(), report=report)
        self._end(report)

    def run_ended(self) -> None:
        """The run failed: hooks have heard of the stage that did."""
        self._end(None)

    def stage_started(self, context: StageContext) -> None:
        self._manager.notify("fgl_stage_started", context=context)
        self._record("stage_started", context.stage)

    def stage_finished(self, context: StageContext) -> None:
        self._manager.notify("fgl_stage_finished", context=context)
        values = {**context.outputs, "seconds": context.seconds, "reused": context.reused}
        self._record("stage_finished", context.stage, **values)

    def stage_failed(self, context: StageContext, error: BaseException) -> None:
        self._manager.notify("fgl_run_failed", context=context, error=error)
        self._record("stage_failed", context.stage, error=type(error).__name__)

    def epoch_finished(self, context: StageContext, entry: Mapping[str, Any]) -> None:
        self._manager.notify("fgl_epoch_finished", context=context, entry=entry)
        self._record("epoch_finished", context.stage, **entry)

    def round_finished(self, context: StageContext, entry: Mapping[str, Any]) -> None:
        self._manager.notify("fgl_round_finished", context=context, entry=entry)
        self._record("round_finished", context.stage, **entry)

    def upload_accepted(self, context: StageContext, client_id: str, sha256: str, size: int) -> None:
        self._manager.notify("fgl_upload_accepted", context=context, client_id=client_id, sha256=sha256, size=size)
        self._record("upload_accepted", context.stage, client_id=client_id, sha256=sha256, size=size)

    def upload_refused(self, context: StageContext, client_id: str, rule: str, reason: str) -> None:
        self._manager.notify("fgl_upload_refused", context=context, client_id=client_id, rule=rule, reason=reason)
        self._record("upload_refused", context.stage, client_id=client_id, rule=rule, reason=reason)

    def client_forgotten(self, context: StageContext, client_id: str) -> None:
        self._manager.notify("fgl_client_forgotten", context=context, client_id=client_id)
        self._record("client_forgotten", context.stage, client_id=client_id)

    def _context(self) -> RunContext:
        return RunContext(str(self._run.root), self._config.to_dict(), self._config.seed, version("fgl"))

    def _start(self, chosen: Any, context: RunContext) -> None:
        folder = self._run.path(FOLDER, chosen.name)
        files.make_folders(self._run.root, folder)
        for path in folder.rglob("*"):  # a tracker opens them itself: a run from elsewhere must not lead it out
            files.refuse_special(path)
        tracker = self._manager.create("tracker", chosen)
        tracker.start(context, folder)
        self._trackers[chosen.name] = tracker
        self._note(folder)

    def _record(self, kind: EventKind, stage: str, **values: Any) -> None:
        if not self._trackers:
            return
        event = Event(kind, stage, round(time.time(), 3), strict_json.finite(values))
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.record, event))

    def _end(self, report: Mapping[str, Any] | None) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.finish, report))
            with suppress(FGLError):
                self._note(self._run.path(FOLDER, name))
        self._trackers.clear()

    def _note(self, folder: Path) -> None:
        """The tracker's files are the run's: they are removed with it."""
        self._run.note(*(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()))

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (Exception, SystemExit) as error:
            self._trackers.pop(name, None)
            said = str(error) if isinstance(error, FGLError) else kind_and_line(error, 300)
            log.warning("tracker %r records no more of this run: %s", name, said)
