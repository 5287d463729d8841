"""Uploads that were refused: told of as they come, kept by digest, and bounded, whoever sends how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.contracts.events import StageContext
from fgl.errors import StoreError, UploadError
from fgl.io.event_log import names

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir


# A run keeps the last refusals, and tells of the first: nobody must be able to fill the disk with them.
_KEPT = 1000
_REASON = 500  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why something that a client sent was refused."""

    rule: str
    """The rule that it broke."""
    reason: str
    """The reason in words."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """files: digest of a file → `rule` that it broke and `reason`. total: refusals so far, also of files no longer
    listed."""

    files: dict[str, dict[str, str]]
    total: int


def refuse(session: Session, client_id: str, error: UploadError, so_far: int = 0) -> dict[str, str]:
    """Tell the trackers; returns what the report says. so_far: refusals, this one too, where anybody may have
    more made: of many, one in a thousand is told of."""
    context = StageContext(str(session.run.root), "clients")
    reason = str(error) if len(str(error)) <= _REASON else f"{str(error)[:_REASON]}…"
    if so_far < _KEPT:
        session.events.upload_refused(context, client_id, error.rule, reason)
    elif is_told(so_far):
        more = f"{so_far:,} files were refused so far; one in {_KEPT:,} is told of: {reason}"
        session.events.upload_refused(context, client_id, error.rule, more)
    return {"rule": error.rule, "reason": reason}


def is_told(so_far: int) -> bool:
    """Whether a refusal of that number is told of: the first ones, then one in a thousand."""
    return so_far < _KEPT or so_far % _KEPT == 0


def listed(run: RunDir) -> dict[str, dict[str, str]]:
    """Files that were refused and not accepted later, by a name that is their digest, the last thousand of them.

    Raises StoreError where the list is damaged."""
    return _refused(run).files


def count(run: RunDir) -> int:
    """How often a file was refused, the same one or another."""
    return _refused(run).total


def _refused(run: RunDir) -> _Refused:
    path = path_of(run)
    if not path.exists():
        return _Refused({}, 0)
    sealed = run.read_sealed(path)
    if sealed is None:
        raise StoreError(f"{path} is damaged: delete it; the record of earlier refusals is lost with it")
    files = dict(sealed["files"])
    return _Refused(files, int(sealed.get("total", len(files))))


def remember(run: RunDir, name: str, note: dict[str, str] | None) -> None:
    """note: None where the file has been accepted after all."""
    known, total = listed(run), count(run)
    if known.pop(name, None) is None and note is None:
        return
    if note is not None:
        known[name], total = note, total + 1
    run.write_sealed(path_of(run), {"files": dict(list(known.items())[-_KEPT:]), "total": total})


def forget(run: RunDir, client_id: str) -> None:
    """Drop what names a client; how many there were stays."""
    known, total = listed(run), count(run)
    kept = {name: note for name, note in known.items() if not names(note["reason"], client_id)}
    if kept != known:
        run.write_sealed(path_of(run), {"files": kept, "total": total})


def path_of(run: RunDir) -> Path:
    return run.path("server", "refused.json")
