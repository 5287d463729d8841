"""Who was taken out of a run. The list lies in two places: one that is lost or damaged is restored from the other.

RUN/server/forgotten.json and RUN/forgotten.json, the same: a folder that was deleted or put back from a backup must not
let a client come back.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError

if TYPE_CHECKING:
    from fgl.core.session import Session


def removal_times(run: RunDir) -> dict[str, str]:
    """Client → when it was taken out (UTC, "" where that is not known). Raises StoreError where the list is damaged in
    both places, or in one and missing in the other: whom to leave out must not be lost."""
    places = _places(run)
    present = [path for path in places if path.exists()]
    sound = [content for path in present if (content := run.read_sealed(path)) is not None]
    if not present:
        return {}
    if not sound:
        names = " and ".join(str(path) for path in present)
        raise StoreError(f"{names} is damaged: delete it, and take the clients out again with fgl server forget")
    merged: dict[str, str] = {}
    for content in sound:
        merged |= {name: content.get("when", {}).get(name, "") for name in content["clients"]}
    return dict(sorted(merged.items()))


def restore(run: RunDir) -> list[str]:
    """Write the list again where one of its places has lost it or has another; returns these places."""
    known = removal_times(run)
    wanted = _content(known)
    lost = [path for path in _places(run) if known and run.read_sealed(path) != wanted]
    for path in lost:
        run.write_sealed(path, wanted)
    return [str(path.relative_to(run.root)) for path in lost]


def add(run: RunDir, client_id: str) -> None:
    known = removal_times(run)
    content = _content({**known, client_id: known.get(client_id) or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    for path in _places(run):
        run.write_sealed(path, content)


def _content(known: dict[str, str]) -> dict[str, object]:
    ordered = dict(sorted(known.items()))
    return {"clients": list(ordered), "when": ordered}


def _places(run: RunDir) -> tuple[Path, Path]:
    return run.path("server", "forgotten.json"), run.path("forgotten.json")


# --- taking a client out --------------------------------------------------------------------------------------------


def removed_clients(run: RunDir) -> list[str]:
    """Clients that were taken out. Raises StoreError where the list is damaged: whom to leave out must not be lost."""
    return list(removal_times(run))


def refresh(session: Session) -> None:
    """Read the list again: another process may have changed it before this one held the run."""
    session.removed_clients = tuple(removed_clients(session.run))
