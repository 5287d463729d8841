"""RUN/metrics.jsonl: what happened, one event per line.

Each line holds the digest of the line before it (`after`), so that a changed, removed or inserted line is noticed; the
report holds the log's length and last digest. This protects against damage. It is not a signature: whoever can write
to the run directory can write the digests too.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from fgl.errors import StoreError
from fgl.io import strict_json
from fgl.io.files import open_append, read_bytes

NAME = "metrics.jsonl"
_AFTER = "after"
_BLOCK = 1 << 16


def append(root: Path, event: Mapping[str, Any]) -> None:
    """Add an event, with the time in seconds since 1970. Raises StoreError."""
    path = root / NAME
    try:
        with open_append(path) as file:
            last, cut = _last(file)
            line = strict_json.finite({"time": round(time.time(), 3), **event, _AFTER: _digest(last)})
            # a torn line, left by a full disk for example, must not spoil the next one
            file.write(b"\n" * cut + strict_json.dumps(line).encode() + b"\n")
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror or error
        raise StoreError(f"cannot write {path}: {why}") from error


def redacted(root: Path, client_id: str) -> bytes:
    """The log with every event that names a client reduced to its time and kind, and the digests recomputed.

    The id is matched as a whole word: events that name only other clients stay.
    """
    lines, previous = [], b""
    for line in _lines(root):
        event = _parsed(line)
        if event is None or names(line.decode("utf-8", errors="replace"), client_id):
            kept: dict[str, Any] = (
                {} if event is None else {key: event[key] for key in ("time", "stage") if key in event}
            )
            event = {**kept, "event": "redacted"}
        previous = strict_json.dumps({**event, _AFTER: _digest(previous)}).encode()
        lines.append(previous + b"\n")
    return b"".join(lines)


def names(text: str, client_id: str) -> bool:
    """Whether a text names a client, and not just another one whose id begins or ends with its id."""
    return re.search(rf"(?<![A-Za-z0-9._-]){re.escape(client_id)}(?![A-Za-z0-9_-])", text) is not None


def events(root: Path) -> list[dict[str, Any]]:
    """All events that can be read, in order."""
    readable = []
    for line in _lines(root):
        event = _parsed(line)
        if event is not None:
            readable.append(event)
    return readable


def mark(root: Path) -> dict[str, Any]:
    """The log's length and the digest of its last line, for `damage` to compare with a later state."""
    lines = _lines(root)
    return {"lines": len(lines), "last": _digest(lines[-1] if lines else b"")}


def damage(root: Path, before: Mapping[str, Any] | None) -> str:
    """What is wrong with the log; "" if nothing is. before: an earlier `mark`, if there is one."""
    lines, chained, previous = _lines(root), False, b""
    for number, line in enumerate(lines, start=1):
        event = _parsed(line)
        if event is None:
            return f"line {number} cannot be read"
        # lines of a version without digests may come first
        if (chained or _AFTER in event) and event.get(_AFTER) != _digest(previous):
            return f"line {number} does not follow the line before it"
        chained, previous = chained or _AFTER in event, line
    count = before.get("lines") if before is not None else None
    if before is None or not isinstance(count, int) or count < 1:
        return ""
    redacted = any(event.get("event") == "redacted" for event in events(root))
    if len(lines) < count or (_digest(lines[count - 1]) != before.get("last") and not redacted):
        return f"it is not the log of {count} lines that the last report was written with"
    return ""


def _lines(root: Path) -> list[bytes]:
    try:
        return read_bytes(root / NAME).splitlines()
    except OSError:
        return []


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = strict_json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _last(file: BinaryIO) -> tuple[bytes, bool]:
    """(last line of the file, whether it is torn)."""
    end = file.seek(0, os.SEEK_END)
    tail, at = b"", end
    while at > 0 and b"\n" not in tail[:-1]:
        start = max(0, at - _BLOCK)
        file.seek(start)
        tail, at = file.read(at - start) + tail, start
    lines = tail.splitlines()
    return (lines[-1] if lines else b""), bool(tail) and not tail.endswith(b"\n")


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16] if line else ""
