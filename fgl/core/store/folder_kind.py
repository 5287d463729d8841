"""What a folder is to fgl: a run, one whose clients are remote, a comparison, nobody's yet."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fgl.core.store import ledger, lock
from fgl.core.store.ledger import Ledger
from fgl.core.store.owned import OwnedFolder
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError
from fgl.io import files

SEAL = f"# Format {ledger.FORMAT}, sha256 of the lines above: "
_SEAL_OF_01 = "# sha256 of the lines above: "
_BELONG_TOGETHER = ("run", "compare", "sweep")
"""Folders whose files rest on each other. What a client keeps (private) is the same in every version."""
NEW, REMOTE = "new", "remote"
REMOTE_LINE = "# The clients are elsewhere: fgl server run resumes this run.\n"
_FIRST = {"config.yaml", lock.NAME, ledger.NAME, "metrics.jsonl", "environment.json", "partition.json"}
"""What a run writes before its first record."""


def sealed_text(folder: Path) -> str | None:
    """The configuration of a run directory as fgl wrote it; None where it was changed since. Raises OSError and
    UnicodeDecodeError where it cannot be read."""
    return _above(files.read_text(folder / "config.yaml"), SEAL)


def _above(text: str, seal: str) -> str | None:
    """The text above a seal, None where it is not what was sealed."""
    above, mark, digest = text.rpartition(seal)
    return above if mark and hashlib.sha256(above.encode()).hexdigest() == digest.strip() else None


def is_outdated(folder: Path) -> bool:
    """Whether fgl 0.1 wrote a folder: its ledger states no format, or where that was lost its configuration has the
    seal of 0.1."""
    noted = Ledger(folder)
    if noted.kind:
        return noted.kind in _BELONG_TOGETHER and noted.format < ledger.FORMAT
    try:
        text = files.read_text(folder / "config.yaml")
    except (OSError, UnicodeDecodeError):
        return False
    return _above(text, _SEAL_OF_01) is not None and is_begun(folder)


def refuse_outdated(folder: Path, instead: str = "") -> None:
    """Raises StoreError where fgl 0.1 wrote a folder. instead: what else there is to do."""
    if is_outdated(folder):
        raise StoreError(
            f"{folder} was written by fgl 0.1, which laid out its files differently: finish it with fgl 0.1 (pip "
            f"install 'fgl<0.2'), or start a new run in another folder{instead}"
        )


def kind_of(folder: Path) -> str:
    """What fgl wrote a folder for, "" where it did not, NEW where there is nothing yet. Raises StoreError."""
    try:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror or error}") from error
    kind = Ledger(folder).kind
    if not kind and names <= {ledger.NAME, lock.NAME}:
        return NEW
    if not kind:
        try:
            known = sealed_text(folder) is not None and is_begun(folder)
            kind = "run" if known or is_outdated(folder) else ""
        except (OSError, UnicodeDecodeError):
            return ""
    return REMOTE if kind == "run" and is_remote(folder) else kind


def is_begun(folder: Path) -> bool:
    """Whether more of a run is in a folder than its config.yaml, which a person may have copied to files of theirs."""
    if Ledger(folder).kind or (folder / "server" / "remote-clients.json").exists():
        return True
    records = (folder / "stages").glob("*.json")
    return {path.name for path in folder.iterdir()} <= _FIRST or any(map(OwnedFolder.read_sealed, records))


def is_remote(folder: Path) -> bool:
    if (folder / "server" / "remote-clients.json").exists():
        return True
    try:
        return files.read_text(folder / "config.yaml").startswith(REMOTE_LINE)
    except (OSError, UnicodeDecodeError):
        return False


def mark_remote(run: RunDir) -> None:
    """Note that this run's clients are elsewhere: nobody here is to be asked for an upload."""
    path = run.path("server", "remote-clients.json")
    if run.read_sealed(path) is None:
        run.write_sealed(path, {"version": 1})


def has_remote_clients(run: RunDir) -> bool:
    """By a file of its own, or by the first line of the configuration where that file was lost: a run whose clients
    are elsewhere is never to simulate them."""
    return is_remote(run.root)
