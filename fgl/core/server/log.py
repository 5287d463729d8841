"""RUN/server/log.jsonl: the server's own record of a run whose clients are elsewhere. Lines are added, and none is ever
changed.

Each line is a JSON object with `entry`, its number from 1, `time`, `event`, and `after`, the sha256 of the line before
it (64 zeros for the first, which names the run): a line that was changed, removed, inserted or moved breaks the chain.
The *head* is the number of lines and the sha256 of the last one. It is kept a second time in RUN/server/log-head.json,
so that lines which are missing at the end are noticed too.

Who sent what stands in RUN/server/log-details.jsonl, a line for each event, with 16 random bytes of salt; the record
has the sha256 of that line, `details`. So a client can be taken out: its details are removed, a line of the record says
whose and of which entries, and the chain stays as it was. Without the salt the digests that are left tell nothing.

What a chain cannot show: whoever can write to the folder can write another chain, with another head, from its first
line on. A head that somebody else keeps tells the two apart; `fgl server log verify` prints it, and compares one. Nor
does it show what was never written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fgl.core.store import lock
from fgl.errors import StoreError
from fgl.io import strict_json
from fgl.io.event_log import names
from fgl.io.files import advice, make_folders, open_append, open_regular, refuse_link

if TYPE_CHECKING:
    from fgl.core.store.run_dir import RunDir

STARTED, ACCEPTED, REFUSED, FORGOTTEN = "started", "accepted", "refused", "forgotten"
LOST, MENDED = "lost", "mended"
_START = "0" * 64
_BLOCK = 1 << 16
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a record: how many lines it has, and the sha256 of the last one."""

    entries: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.entries}:{self.sha256}"

    @classmethod
    def of(cls, text: str) -> Head:
        """Raises ValueError where a text is no head, as `str` writes one."""
        number, colon, digest = text.strip().partition(":")
        if not colon or not number.isdecimal() or len(number) > 15 or len(digest) != 64:
            raise ValueError("expected a head as fgl server log verify prints it: NUMBER:SHA256")
        if not set(digest) <= set("0123456789abcdef"):
            raise ValueError("expected a sha256 of 64 hexadecimal digits after the number")
        return cls(int(number), digest)


@dataclass(frozen=True, slots=True)
class Verified:
    """A record that was looked through. wrong: what is wrong with it, each in a sentence; empty where it is sound."""

    head: Head
    events: Mapping[str, int]
    run_id: str
    wrong: tuple[str, ...]


def path_of(run: RunDir) -> Path:
    return run.path("server", "log.jsonl")


def head_path(run: RunDir) -> Path:
    return run.path("server", "log-head.json")


def details_path(run: RunDir) -> Path:
    return run.path("server", "log-details.jsonl")


# --- writing --------------------------------------------------------------------------------------------------------


def add(run: RunDir, event: str, run_id: str, **details: Any) -> None:
    """Add a line, and before the first one a line that names the run. details: who sent what; they can be forgotten.
    The run must be held alone. Raises StoreError."""
    _append(run, run_id, event, details, {})


def forget(run: RunDir, client_id: str, run_id: str) -> None:
    """Note that a client was taken out, and remove all details that name it. Raises StoreError."""
    named, kept = list[int](), list[bytes]()
    for line, stated in _lines(details_path(run)):
        if stated is None or names(line.decode("utf-8", errors="replace"), client_id):
            number = None if stated is None else stated.get("entry")  # of a damaged line it may be anything
            named += [number] if type(number) is int else []
        else:
            kept.append(line + b"\n")
    # First the note, then the removal: killed in between, it is told that details are still there.
    _append(run, run_id, FORGOTTEN, {}, {"client": client_id, "entries": sorted(set(named))})
    run.write(details_path(run), b"".join(kept))


def _append(run: RunDir, run_id: str, event: str, details: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    path = path_of(run)
    lock.check(run.root)
    make_folders(run.root, path.parent)
    run.note(path, head_path(run), details_path(run))
    kept = _kept_head(run)
    try:
        with open_append(path) as file:
            line, number, came = _mend(file)
            lost = None if kept is None or _holds(run, kept, line, number) else kept
            if number == 0:
                line, number = _write(file, b"", 0, {"event": STARTED, "run": run_id}), 1
            if lost is not None:
                line, number = _write(file, line, number, {"event": LOST, "head": str(lost)}), number + 1
            digest = {"details": _append_details(details_path(run), came, number + 1, details)} if details else {}
            line = _write(file, line, number, {"event": event, **stated, **digest})
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}{advice(error)}") from error
    run.write_sealed(head_path(run), {"entries": number + 1, "sha256": _sha256(line)})


def _append_details(path: Path, came: int, number: int, details: Mapping[str, Any]) -> str:
    """Write details of a line that comes next; returns their digest. What a killed process wrote for a line that never
    came is cut off: `came` lines of the record did, and since then perhaps those that say what was mended or lost."""
    line = strict_json.dumps({"entry": number, "salt": secrets.token_hex(16), **strict_json.finite(details)}).encode()
    with open_append(path) as file:
        end = file.seek(0, os.SEEK_END)
        tail = _tail(file, end)
        whole, _, torn = tail.rpartition(b"\n")
        last = whole.rpartition(b"\n")[2]
        of_line = (_parsed(last) or {}).get("entry")
        stale = type(of_line) is int and came < of_line <= number
        cut = len(torn) + (len(last) + 1 if stale else 0)
        if cut:
            file.truncate(end - cut)
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return _sha256(line)


def _kept_head(run: RunDir) -> Head | None:
    kept = run.read_sealed(head_path(run))
    return None if kept is None else Head(kept["entries"], kept["sha256"])


def _holds(run: RunDir, head: Head, last: bytes, number: int) -> bool:
    """Whether the record still has the line of a head: what comes next must not hide it if not. last: the last line, of
    that number."""
    if number == head.entries:
        return _sha256(last) == head.sha256
    line = next(islice(_lines(path_of(run)), head.entries - 1, None), None) if number > head.entries > 0 else None
    return line is not None and _sha256(line[0]) == head.sha256


def _write(file: BinaryIO, last: bytes, number: int, event: Mapping[str, Any]) -> bytes:
    """Append a line that follows `last`, the line of that number; returns it without its line break."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    after = _sha256(last) if number else _START
    stated = {"entry": number + 1, "time": stamp, **strict_json.finite(event), "after": after}
    line = strict_json.dumps(stated).encode()
    file.write(line + b"\n")
    return line


def _mend(file: BinaryIO) -> tuple[bytes, int, int]:
    """(last whole line, its number, how many there were; 0 where there is none). What a killed process left of a line
    is cut off, and a line says so."""
    end = file.seek(0, os.SEEK_END)
    tail = _tail(file, end)
    whole, newline, torn = tail.rpartition(b"\n")
    if torn:
        file.truncate(end - len(torn))
    last = whole.rpartition(b"\n")[2] if newline else b""
    number = came = _number(last) if last else 0
    if torn and number:
        last, number = _write(file, last, number, {"event": MENDED, "bytes": len(torn)}), number + 1
    return last, number, came


def _tail(file: BinaryIO, end: int) -> bytes:
    """The end of a file, with its last whole line and what comes after that."""
    tail, at = b"", end
    while at > 0 and tail.count(b"\n") < 2:
        start = max(0, at - _BLOCK)
        file.seek(start)
        tail, at = file.read(at - start) + tail, start
    return tail


def _number(line: bytes) -> int:
    """The number that a line states. Raises StoreError: nothing is chained to what cannot be read."""
    try:
        number = strict_json.loads(line)["entry"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if type(number) is not int or number < 1:
        raise StoreError(
            "server/log.jsonl is damaged: its last line cannot be read; look at it with fgl server log verify, and put "
            "it back from a backup, or move it away: a new one is begun, and says that this one was lost"
        )
    return number


# --- reading --------------------------------------------------------------------------------------------------------


def last_accepted(run: RunDir, client_id: str, kind: str, number: int) -> dict[str, Any] | None:
    """The details of the last line by which a client's file of a kind and round was accepted, where they are there.

    Details alone are none: their line may not have come before the process was killed."""
    wanted = {"client": client_id, "kind": kind, "round": number}
    known = {
        _sha256(line): one
        for line, one in _lines(details_path(run))
        if one is not None and wanted.items() <= one.items()
    }
    found = None
    for _, event in _lines(path_of(run)) if known else ():
        if event is not None and event.get("event") == ACCEPTED:
            found = known.get(str(event.get("details")), found)
    return found


def entries(run: RunDir) -> Iterator[dict[str, Any]]:
    """What the record says, a line at a time, with the details that are still there."""
    found = {_sha256(line): event for line, event in _lines(details_path(run)) if event is not None}
    for _, event in _lines(path_of(run)):
        if event is not None:
            details = found.get(str(event.get("details")), {})
            beside = {key: value for key, value in details.items() if key not in ("entry", "salt")}
            stated = {key: value for key, value in event.items() if key not in ("details", "after")}
            yield {**stated, **beside, **({"details": "forgotten"} if "details" in event and not details else {})}


def verify(run: RunDir, kept: Head | None = None) -> Verified:
    """Look a record through. kept: a head of an earlier time, from elsewhere. Raises StoreError where there is none."""
    path, wrong = path_of(run), list[str]()
    if not path.exists():
        raise StoreError(f"{path} is not there: this run has no record, or somebody removed it")
    digests: list[str] = []
    events: dict[str, int] = {}
    run_id, broken = "", False
    details: dict[int, str] = {}  # line → digest of what it is about
    out: set[int] = set()  # lines whose details were forgotten
    for line, event in _lines(path):
        number, before = len(digests) + 1, digests[-1] if digests else _START
        digests.append(_sha256(line))
        if event is None:
            wrong.append(f"line {number} cannot be read: it was changed or cut")
            broken = True
            continue
        kind = str(event.get("event"))
        events[kind] = events.get(kind, 0) + 1
        if number == 1:
            run_id = str(event.get("run", ""))
        if broken:
            broken = False  # what follows a line that cannot be read is chained to that one's lost bytes
        elif event.get("after") != before:
            wrong.append(
                f"line {number} does not follow the line before it: one was changed, removed, inserted or moved"
            )
        if "details" in event:
            details[number] = str(event["details"])
        if kind == FORGOTTEN:
            out |= {one for one in event.get("entries", []) if isinstance(one, int)}
        if kind == LOST:
            head_lost = event.get("head")
            wrong.append(f"line {number} says that lines were missing or changed before it was written ({head_lost!r})")
        if event.get("entry") != number:
            wrong.append(f"line {number} says that it is line {event.get('entry')!r}")
        if (kind == STARTED) != (number == 1):
            wrong.append(f"line {number} is {kind!r}; a record has one line that starts it, its first")
    head = Head(len(digests), digests[-1] if digests else _START)
    if not digests:
        wrong.append("it is empty")
    wrong += _detailed(run, details, out)
    own = _kept_head(run)
    if own is None:
        wrong.append(
            "its head, server/log-head.json, is lost or damaged: whether lines are missing at the end is unknown"
        )
    else:
        wrong += _compared(digests, own, "the head beside it")
    if kept is not None:
        wrong += _compared(digests, kept, "the head that you keep")
    return Verified(head, events, run_id, tuple(wrong[:20]))


def _detailed(run: RunDir, stated: Mapping[int, str], out: Container[int]) -> Iterator[str]:
    """What is wrong with the details. stated: line → digest of its details. out: lines whose details were forgotten."""
    there = [_sha256(line) for line, _ in _lines(details_path(run))]
    for number, digest in stated.items():
        if number in out and digest in there:
            yield f"the details of line {number} were to be forgotten and are still there: fgl server forget again"
        elif number not in out and digest not in there:
            yield f"the details of line {number} were changed or removed, and nobody was taken out of them"
    if strangers := len(set(there) - set(stated.values())):
        yield f"log-details.jsonl has {strangers:,} lines that belong to no line of the record"


def _compared(digests: list[str], head: Head, whose: str) -> Iterator[str]:
    if head.entries > len(digests):
        yield f"lines are missing at the end: {whose} is of {head.entries:,} lines, and there are {len(digests):,}"
    elif head.entries < 1 or digests[head.entries - 1] != head.sha256:
        yield f"line {head.entries} is not the one that {whose} is of: it was changed, or the record written anew"


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """(a line, what it says; None where it cannot be read)."""
    refuse_link(path)
    try:
        with open_regular(path) as file:
            for line in iter(lambda: file.readline(_LONGEST), b""):
                whole = line.endswith(b"\n")
                yield line.removesuffix(b"\n"), _parsed(line) if whole else None
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = strict_json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
