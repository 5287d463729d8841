"""Files of a run that no stage reads again, looked through: what of them is damaged is named, never taken for sound.

What a stage reads is covered by its record and recomputed where it is damaged. The files here are for later: more
rounds, an audit, a person. They are not recomputed by themselves, for that could be hours of training for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fgl.core.baselines import BASELINES
from fgl.core.client import private_folder, training
from fgl.core.server import log as server_log
from fgl.core.server import refusals
from fgl.core.stages import adaptation, round_start, round_state, rounds
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import JsonObject
from fgl.errors import StoreError
from fgl.io import event_log

if TYPE_CHECKING:
    from fgl.core.session import Session


log = logging.getLogger(__name__)
# Folder of a training by rounds → the stage that it is of.
_TRACKS = {
    "own": rounds.STAGE.name,
    "fedavg-1": BASELINES["fedavg"].stage,
    adaptation.NAME: adaptation.STAGE.name,
}


def named(session: Session) -> dict[str, str]:
    """File, relative to the run → what is wrong with it and what follows from that; empty where all are sound."""
    found: dict[str, str] = {}
    wrong = event_log.damage(session.run.root, _last_mark(session))
    if wrong:
        found[event_log.NAME] = f"the log was changed or cut: {wrong}; no result rests on it"
    listed = refusals.path_of(session.run)
    if (
        session.remote_clients
        and not listed.exists()
        and any(_refused_file(one) for one in event_log.events(session.run.root))
    ):
        found[session.run.name_of(listed)] = "lost: what was refused before is no longer in the report"
    if session.remote_clients:
        found |= dict(_record(session))
    for track, stage in _TRACKS.items():
        found |= dict(_rounds(session, track, stage))
    for folder in sorted(session.run.path("clients").glob("*/private")):
        for name in private_folder.damaged(folder):
            path = folder / name
            found[str(path.relative_to(session.run.root))] = "damaged or lost; fgl run --resume asks the client again"
    return found


def warn(session: Session) -> dict[str, str]:
    """`named`, each in the log too."""
    found = named(session)
    for name, what in found.items():
        log.warning("%s: %s", session.run.path(name), what)
    return found


def _record(session: Session) -> Iterator[tuple[str, str]]:
    """Of the server's own record of who sent what."""
    path = server_log.path_of(session.run)
    events = {event.get("event") for event in event_log.events(session.run.root)}
    if not path.exists() and events.isdisjoint({"accepted", "refused"}):
        return  # nothing has come yet
    name = session.run.name_of(path)
    try:
        wrong = server_log.verify(session.run).wrong
    except StoreError as error:
        wrong = (str(error),)
    if wrong:
        yield name, f"{wrong[0]}; no result rests on it (fgl server log verify)"


def _refused_file(event: Mapping[str, object]) -> bool:
    return event.get("event") == "refused" and str(event.get("client", "")).startswith("file ")


def _rounds(session: Session, track: str, stage: str) -> Iterator[tuple[str, str]]:
    """Of a finished training: its last state, and what clients keep for rounds that may follow."""
    run, record = session.run, session.run.recorded(stage)
    if record is None:
        return
    choice = record["value"].get("start") if isinstance(record["value"], dict) else None
    if choice is None:
        if stage == rounds.STAGE.name and not record["inputs"]["start"]:  # of no one-shot model
            track = f"{track}-{round_start.SCRATCH}"
        course = digest_of({key: value for key, value in record["inputs"].items() if key != "count"})
    else:
        track, course = choice["track"], choice["course"]
    place = run.path("rounds", track, "state.safetensors").relative_to(run.root)
    reached = round_state.read(round_state.place(run, track, course))
    again = "the result stands, and more rounds would train anew from the first"
    if reached is None or len(reached.history) < record["inputs"]["count"]:
        yield str(place), f"damaged or lost: {again}"
        return
    for client_id, kept in reached.kept.items():
        private = run.path("clients", client_id, "private")
        if not training.holds(private, track, course, kept):
            folder = (private / "rounds" / track).relative_to(run.root)
            yield str(folder), f"what {client_id} keeps for its next round is damaged or not here: {again}"


def _last_mark(session: Session) -> JsonObject | None:
    """What the last report says of the log."""
    try:
        report = session.run.read_json(session.run.path("report.json"))
        mark = report["log"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return mark if isinstance(mark, dict) else None
