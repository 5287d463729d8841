"""What a client has answered about its images, and what that costs them: a ledger that outlives runs.

FOLDER/ledger.jsonl    a line an answer. Each has the sha256 of the line before it, so an edited, removed or reordered
                       line is noticed
FOLDER/ledger.head     number of lines and sha256 of the last one, so that a cut is noticed
FOLDER/answers/        what was answered, each under its sha256: asked for again, it is handed out again
FOLDER/images/         which images a line is about, each list under its sha256

Nothing is answered before its line and the head are on disk. Killed on the way, an answer has either not left, and
can be drawn anew, or is recorded, and is handed out from then on. A line that a kill left without its head counts as
spent. All of it is for the owner alone, and none of it is a signature: whoever can write to the folder can write
another history.

A line is about a set of images, whatever the configuration calls them: what overlaps in a single image is added up.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fgl.core.store import lock
from fgl.errors import BudgetError, LedgerError, Problem
from fgl.io import files, strict_json
from fgl.privacy.cost import Cost

log = logging.getLogger(__name__)

LEDGER, HEAD, ANSWERS, IMAGES = "ledger.jsonl", "ledger.head", "answers", "images"
Level = Literal["image", "client"]
_FORMAT = 1
_OTHER = {
    "image": ", at which what was priced for clients counts as two",
    "client": ", at which what was priced for images counts as often as there are images",
}
_MOST = 10**15
"""Of images, and of their number times μ: what is more was edited, and no epsilon can be computed of it."""
_MEMBER = 16
"""Bytes of an image's digest."""
_WAIT = 600.0
"""Seconds to wait for another process: it holds the ledger only while it writes."""


@dataclass(frozen=True, slots=True)
class Protected:
    """The images that answers are about: a sorted sequence of different 16-byte digests, joined. Classes, names and
    order leave no trace in it, so no configuration makes other images of the same ones."""

    members: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.members).hexdigest()

    def __len__(self) -> int:
        return len(self.members) // _MEMBER

    def overlaps(self, other: Protected) -> bool:
        return not self._set().isdisjoint(other._set())

    def _set(self) -> set[bytes]:
        return {self.members[at : at + _MEMBER] for at in range(0, len(self.members), _MEMBER)}

    @classmethod
    def of(cls, digests: Sequence[bytes]) -> Protected:
        """digests: at least 16 bytes for each image."""
        return cls(b"".join(sorted({one[:_MEMBER] for one in digests})))


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be spent on any image: ε at δ. epsilon None: it is counted, and nothing is refused."""

    epsilon: float | None = None
    delta: float = 1e-5


@dataclass(frozen=True, slots=True)
class Spending:
    """An answer that is to be given.

    key: the same for the same question, see `request_key`. what: in words, for the owner and the statement. cost: for
    neighbours at `level`: image, one image added or removed; client, all of the client's part in the answer removed.
    """

    key: str
    what: str
    level: Level
    cost: Cost
    images: Protected


@dataclass(frozen=True, slots=True)
class Entry:
    """A line. images: digest of which ones, count: how many. epsilon: of this answer alone, epsilon_in_all: of all
    about these images up to it, at its level and delta. answer: sha256 of what left, size: its bytes. time: since
    1970, seconds."""

    key: str
    what: str
    level: Level
    mu: float
    slack: float
    delta: float
    epsilon: float
    epsilon_in_all: float
    images: str
    count: int
    answer: str
    size: int
    time: float

    @property
    def cost(self) -> Cost:
        return Cost(self.mu, self.slack)


def request_key(question: Mapping[str, object]) -> str:
    """sha256 of a question. It holds all that determines what is asked, and nothing of where it is answered or when."""
    return hashlib.sha256(strict_json.dumps(question, sort_keys=True).encode()).hexdigest()


class PrivacyLedger:
    """The ledger in `folder`, which is made when something is recorded. Raises LedgerError, from every method, where
    it was cut, edited or reordered, and StoreError where it cannot be read or written."""

    def __init__(self, folder: Path, limit: Limit | None = None) -> None:
        self.folder, self.limit = folder, limit or Limit()

    def held(self, key: str) -> bytes | None:
        """What was answered to a question before; None where it was not. Free, whatever the limit."""
        return next((self._answer(one) for one in self.entries() if one.key == key), None)

    def check(self, spending: Spending) -> None:
        """Before the work for an answer is done. Raises BudgetError where `record` would."""
        self._judge(spending, self.entries())

    def record(self, spending: Spending, answer: bytes) -> bytes:
        """Record an answer → what may leave: `answer`, or what was answered to the same question before.

        Two processes that call it at once come one after the other. Raises BudgetError where it would cost more than
        the limit allows; then `answer` must not leave.
        """
        files.make_folders(self.folder, self.folder, private=True)
        with lock.hold(self.folder, _WAIT):
            lines = self._begun()
            entries = _entries(lines, self.folder)
            for one in entries:
                if one.key == spending.key:
                    return self._answer(one)
            in_all = self._judge(spending, entries)
            digest = hashlib.sha256(answer).hexdigest()
            entry = Entry(
                key=spending.key,
                what=spending.what,
                level=spending.level,
                mu=spending.cost.mu,
                slack=spending.cost.slack,
                delta=self.limit.delta,
                epsilon=spending.cost.epsilon(self.limit.delta),
                epsilon_in_all=in_all,
                images=spending.images.digest,
                count=len(spending.images),
                answer=digest,
                size=len(answer),
                time=round(time.time(), 3),
            )
            self._write(IMAGES, entry.images, spending.images.members)
            self._write(ANSWERS, digest, answer)
            self._append(lines, asdict(entry))
        return answer

    def entries(self) -> list[Entry]:
        """All that was answered, in order; empty where nothing was."""
        return _entries(self._lines(), self.folder)

    def entry_of(self, answer: bytes) -> Entry | None:
        """The line of an answer, by its bytes; None where there is none: nothing prices it."""
        digest = hashlib.sha256(answer).hexdigest()
        return next((one for one in reversed(self.entries()) if one.answer == digest), None)

    def spent(self, images: Protected, level: Level) -> Cost:
        """What all answers about any of these images cost together, at a level.

        At the level of images, an answer that was priced for clients counts twice its μ: a vector of norm 1 that an
        image changes moves by 2 at most. At the level of clients, one that was priced for images counts as many times
        its μ as the client has images (group privacy; Dong, Roth, Su 2022, theorem 2.14)."""
        return self._spent(images, level, self.entries())

    def _spent(self, images: Protected, level: Level, entries: Sequence[Entry]) -> Cost:
        total, known = Cost(0.0), {images.digest: True}
        for one in entries:
            if one.images not in known:
                known[one.images] = images.overlaps(self._images(one.images))
            if known[one.images]:
                times = 1 if one.level == level else 2 if level == "image" else max(one.count, 1)
                total += Cost(times * one.mu, times * one.slack)
        return total

    def _judge(self, spending: Spending, entries: Sequence[Entry]) -> float:
        """ε of all about these images with this answer. Raises BudgetError."""
        delta, most = self.limit.delta, self.limit.epsilon
        if warning := delta_warning(delta, len(spending.images)):
            log.warning("%s", warning)
        before = self._spent(spending.images, spending.level, entries)
        after = before + spending.cost
        if most is not None and not after.fits(most, delta):
            spent, asked = before.epsilon(delta), spending.cost.epsilon(delta)
            mixed = any(one.level != spending.level for one in entries)
            level = f"level {spending.level}{_OTHER[spending.level] if mixed else ''}"
            rest = "nothing more is answered about them" if spent >= most and not mixed else "this one is refused"
            raise BudgetError(
                [
                    Problem(
                        "privacy.max_epsilon",
                        f"{spending.what}, which costs epsilon {asked:.4g} (level {spending.level})",
                        f"at delta {delta:g}, epsilon {spent:.4g} is spent on these images already ({level}), with it "
                        f"{after.epsilon(delta):.4g}, and this site's limit is {most:g}: {rest}; what was answered "
                        f"before is handed out again. The site's owner may raise the limit, in the site's own file",
                    )
                ],
                "what was asked of this site",
            )
        return after.epsilon(delta)

    # --- the files ---------------------------------------------------------------------------------------------------

    def _begun(self) -> list[bytes]:
        """The lines, with what a kill left undone brought to its end. Under the lock."""
        lines = self._lines()
        path = self.folder / LEDGER
        whole = sum(len(line) + 1 for line in lines)
        with _trouble(path), files.open_append(path, private=True) as file:
            if file.seek(0, os.SEEK_END) > whole:  # a line that a kill cut off: its answer has not left
                file.truncate(whole)
                os.fsync(file.fileno())
        if not lines:
            self._append([], {"format": _FORMAT})
            return self._lines()
        self._set_head(lines)
        return lines

    def _append(self, lines: Sequence[bytes], line: Mapping[str, object]) -> None:
        """A line, then the head: only both together let an answer leave."""
        made = strict_json.dumps({**line, "after": _digest(lines)}).encode()
        path = self.folder / LEDGER
        with _trouble(path), files.open_append(path, private=True) as file:
            file.write(made + b"\n")
            file.flush()
            os.fsync(file.fileno())
        files.sync(self.folder)
        self._set_head([*lines, made])

    def _set_head(self, lines: Sequence[bytes]) -> None:
        head = {"lines": len(lines), "last": _digest(lines)}
        files.write(self.folder / HEAD, strict_json.dumps(head).encode() + b"\n", private=True)

    def _lines(self) -> list[bytes]:
        """Whole lines, if they are those that were written. Raises LedgerError."""
        head, data = self._read(HEAD), self._read(LEDGER)  # in this order, beside a process that adds a line
        lines = [] if data is None else data.split(b"\n")[:-1]
        count, last = 0, ""
        if head is not None:
            try:
                found = strict_json.loads(head)
                count, last = int(found["lines"]), str(found["last"])
            except (ValueError, KeyError, TypeError):
                raise _broken(self.folder / HEAD, "it cannot be read") from None
        elif len(lines) > 1 or (not lines and self._is_there(ANSWERS)):
            raise _broken(self.folder / HEAD, "it is gone, and what was answered is still there")
        # a line more than the head knows was being written when a process was killed
        if len(lines) < count:
            whole = f"{len(lines)} whole line{'' if len(lines) == 1 else 's'}"
            raise _broken(self.folder / LEDGER, f"it has {whole}, expected {count}: it was cut")
        if _digest(lines[:count]) != last:
            raise _broken(self.folder / LEDGER, f"line {count} is not the one that was written")
        return lines

    def _read(self, name: str) -> bytes | None:
        path = self.folder / name
        files.refuse_link(path)
        try:
            with _trouble(path, "read"):
                return files.read_bytes(path)
        except FileNotFoundError:
            return None

    def _is_there(self, name: str) -> bool:
        try:
            return any((self.folder / name).iterdir())
        except OSError:
            return False

    def _write(self, kind: str, digest: str, data: bytes) -> None:
        folder = self.folder / kind
        files.make_folders(self.folder, folder, private=True)
        if self._kept(kind, digest) is None:
            files.write(folder / digest, data, private=True)

    def _kept(self, kind: str, digest: str) -> bytes | None:
        """A file's content; None where it is not there or not what its name says."""
        data = self._read(f"{kind}/{digest}")
        return data if data is not None and hashlib.sha256(data).hexdigest() == digest else None

    def _answer(self, entry: Entry) -> bytes:
        data = self._kept(ANSWERS, entry.answer)
        if data is None:
            raise LedgerError(
                f"{self.folder / ANSWERS / entry.answer} is damaged or gone: it was the answer to {entry.what}, and a "
                f"new one would be paid for again; restore the file from where it was sent to or from a backup"
            )
        return data

    def _images(self, digest: str) -> Protected:
        data = self._kept(IMAGES, digest)
        if data is None:
            raise _broken(self.folder / IMAGES / digest, "it is damaged or gone")
        return Protected(data)


def delta_warning(delta: float, count: int) -> str:
    """Why a δ is too large for so many images; "" where it is not."""
    if count < 1 or delta < 1 / count:
        return ""
    return (
        f"delta {delta:g} is not below 1 / {count}, the number of images: a mechanism that publishes one image in "
        f"{count}, chosen at random, would satisfy it; choose a delta far below that (privacy.delta)"
    )


def _entries(lines: Sequence[bytes], folder: Path) -> list[Entry]:
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            values: dict[str, Any] = strict_json.loads(line)
            after = values.pop("after")
            if number == 1:
                known = values == {"format": _FORMAT}
            else:
                entries.append(Entry(**values))
                known = _is_sound(entries[-1])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _broken(folder / LEDGER, f"line {number} cannot be read") from None
        if not known:
            raise _broken(folder / LEDGER, f"line {number} is of another version of fgl, or edited")
        if after != _digest(lines[: number - 1]):
            raise _broken(folder / LEDGER, f"line {number} does not follow the line before it")
    return entries


def _is_sound(entry: Entry) -> bool:
    """Whether its values are of the kinds that are written: what is counted and what names a file."""
    numbers = (entry.mu, entry.slack, entry.delta, entry.epsilon, entry.epsilon_in_all, entry.time)
    texts, digests = (entry.key, entry.what), (entry.images, entry.answer)
    return (
        all(type(one) in (int, float) and 0 <= one <= 1e300 for one in numbers)
        and all(type(one) is int and 0 <= one <= _MOST for one in (entry.count, entry.size))
        and max(1, entry.count) * max(entry.mu, entry.slack) <= _MOST
        and all(type(one) is str for one in (*texts, *digests))
        and all(one.isalnum() for one in digests)
        and entry.level in get_args(Level)
    )


def _digest(lines: Sequence[bytes]) -> str:
    """Of the last line; each has that of the one before it."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def _broken(path: Path, what: str) -> LedgerError:
    return LedgerError(
        f"{path}: {what}; what was spent cannot be known, so nothing is answered: restore the folder from a backup, "
        f"or, if it is yours to decide, move it away, and all that was answered before is forgotten"
    )


@contextmanager
def _trouble(path: Path, doing: str = "write") -> Iterator[None]:
    """OSError as LedgerError, except for a file that is not there."""
    try:
        yield
    except FileNotFoundError:
        if doing == "read":
            raise
        raise LedgerError(f"cannot {doing} {path}: its folder was removed") from None
    except OSError as error:
        raise LedgerError(f"cannot {doing} {path}: {error.strerror or error}{files.advice(error)}") from error
