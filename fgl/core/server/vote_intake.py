"""Votes that come as files: each answers the ballot of the round that is open."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgl.contracts.events import StageContext
from fgl.core import voting
from fgl.core.server import senders, upload_store, vote_store
from fgl.core.server.noted import Noted
from fgl.core.wire import ballots
from fgl.errors import UploadError, UploadReplayError, UploadRoundError, UploadSenderError, UploadSizeError
from fgl.text import counted, quoted

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fgl.core.server.vote_store import VoteManifest
    from fgl.core.session import Session
    from fgl.core.wire.ballots import Ballot
    from fgl.core.wire.envelopes import Envelope

KIND = "vote"


@dataclass(slots=True)
class Collected:
    """What clients have voted in a round: votes, client → a number a candidate; answered, client → digest and bytes of
    its file; refused, client → rule and reason; bytes_up, of all files."""

    votes: dict[str, list[float]] = field(default_factory=dict)
    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    bytes_up: int = 0

    def accept(self, client_id: str, data: bytes, votes: NDArray[np.float64]) -> None:
        """Count a vote. data: its file. votes: float64 [n]."""
        self.votes[client_id] = votes.tolist()
        self.answered[client_id] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def judged(session: Session, ballot: Ballot, clients: Sequence[str]) -> Collected:
    """The votes that came on a ballot, judged by the keys as they are now."""
    found = Collected()
    for name in clients:
        manifest = vote_store.kept(session.run, ballot.round, name)
        if manifest is None or manifest.ballot != ballot.digest:
            continue
        try:
            found.accept(name, *_read(session, ballot, manifest))
            found.bytes_up += manifest.bytes
        except UploadError as error:
            found.refused[name] = {"rule": error.rule, "reason": str(error)}
    return found


def _read(session: Session, ballot: Ballot, manifest: VoteManifest) -> tuple[bytes, NDArray[np.float64]]:
    """(the file, float64 [n]). Raises UploadError where the vote does not count, StoreError where it cannot be read."""
    config, name = session.config, manifest.client_id
    data = upload_store.read_upload(vote_store.vote_path(session.run, ballot.round, name))
    block = manifest.signature.encode() if manifest.signature else None
    sender = senders.judge(config.server, data, block, kind=KIND, run=config.upload.run_id, round=ballot.round)
    senders.check_name(sender, name)
    return data, voting.read(data, name, ballot, config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far votes by files have come."""

    round: int
    """The round that is open; one more than there are where all were closed."""
    rounds: int
    """How many there are."""
    ballot: str | None
    """sha256 of its ballot; None where there is none."""
    voted: list[str]
    """Clients whose votes on it are there."""
    missing: list[str]
    """The others, without those that were taken out."""

    @property
    def is_over(self) -> bool:
        """Whether all rounds were closed."""
        return self.round > self.rounds

    def in_words(self, run: Path) -> str:
        """What is waited for, and what to do."""
        which = f"round {self.round} of {self.rounds}"
        if self.is_over:
            return f"{counted(self.rounds, 'round')} of votes, all closed: fgl server run {run}"
        if self.ballot is None:
            return f"{which} has no ballot yet: fgl server ballot {run}"
        if not self.missing:
            return (
                f"all votes of {which} are there: fgl server {'run' if self.round == self.rounds else 'ballot'} {run}"
            )
        listed = ", ".join(self.missing[:10]) + (", …" if len(self.missing) > 10 else "")
        there = f"{len(self.voted)} of {len(self.voted) + len(self.missing)}"
        waits = f"{which} waits for votes of {listed} ({there} have voted): fgl server ingest {run} FILES"
        rest = f"; to count those that are there: fgl server ballot {run} --close {self.round}"
        return waits + (rest if self.voted else "")


def standing(session: Session, clients: Sequence[str]) -> Standing:
    """How far the votes of a run have come. clients: of the run; those that were taken out are left out."""
    left = [name for name in clients if name not in session.removed_clients]
    number, ballot = vote_store.open_round(session.run, session.config.votes.rounds)
    voted = [] if ballot is None else list(judged(session, ballot, left).answered)
    missing = [name for name in left if name not in voted] if number <= session.config.votes.rounds else []
    return Standing(
        round=number,
        rounds=session.config.votes.rounds,
        ballot=None if ballot is None else ballot.digest,
        voted=voted,
        missing=missing,
    )


class VoteIntake:
    """Votes of a run. clients: ids that may answer. replace: whether another vote of a client takes the place of an
    earlier one."""

    max_bytes = ballots.MAX_VOTE

    def __init__(self, session: Session, clients: Sequence[str], replace: bool) -> None:
        self._session, self._clients, self._replace = session, clients, replace
        self._rounds = session.config.votes.rounds
        self._open, self._ballot = vote_store.open_round(session.run, self._rounds)

    def noted(self, sealed: bool) -> Noted:
        """What the record says of a file before it is judged."""
        return Noted(kind=KIND, round=self._open, sealed=sealed)

    def take(self, envelope: Envelope, noted: Noted) -> tuple[str, str]:
        """Judge a vote and keep it → (client, outcome), see `ingest`. Raises UploadError with the rule it broke."""
        session, data = self._session, envelope.data
        if envelope.size > self.max_bytes:
            raise UploadSizeError(f"refused: a vote of {envelope.size:,} bytes; the cap is {self.max_bytes:,}")
        digest = hashlib.sha256(data).hexdigest()
        # one that was counted may come again: its file was lost here, or its key was replaced
        closed = vote_store.round_of(session.run, digest, self._rounds)
        noted.round = self._open if closed is None else closed
        ballot = self._ballot_of(noted.round)
        run_id = session.config.upload.run_id
        noted.sender = senders.judge(
            session.config.server, data, envelope.block, kind=KIND, run=run_id, round=noted.round
        )
        stated = ballots.stated_in(data)
        senders.check_name(noted.sender, stated.client_id)
        if stated.client_id not in self._clients:
            raise UploadSenderError(f"refused: a vote of {quoted(stated.client_id)}, which is no client of this run")
        if stated.client_id in session.removed_clients:
            raise UploadReplayError(f"refused: {stated.client_id} was taken out of this run (fgl server forget)")
        if stated.run == run_id and stated.round != noted.round:
            why = "was closed" if stated.round < noted.round else "has no ballot yet"
            raise UploadRoundError(f"refused: round {stated.round} {why}; votes of round {noted.round} are taken")
        voting.read(data, stated.client_id, ballot, session.config)
        return stated.client_id, self._kept(stated.client_id, envelope, digest, ballot, noted)

    def _ballot_of(self, number: int) -> Ballot:
        """Raises UploadRoundError where no votes are taken."""
        if number == self._open:
            found = self._ballot
        else:
            data = vote_store.ballot(self._session.run, number)
            found = None if data is None else ballots.own_ballot(data)
        if number > self._rounds:
            raise UploadRoundError(f"refused: all rounds of votes were closed, {self._rounds} of {self._rounds}")
        if found is None:
            raise UploadRoundError(f"refused: there is no ballot of round {number} yet (fgl server ballot RUN)")
        return found

    def _kept(self, client_id: str, envelope: Envelope, digest: str, ballot: Ballot, noted: Noted) -> str:
        session, number = self._session, noted.round
        earlier = vote_store.kept(session.run, number, client_id)
        if earlier is not None and earlier.ballot != ballot.digest:  # of a ballot that was made anew
            earlier = None
        signature = "" if envelope.block is None else envelope.block.decode("utf-8", errors="replace")
        same = earlier is not None and earlier.sha256 == digest
        if earlier is not None and same and (noted.sender is None or earlier.signature == signature):
            noted.completed(session, client_id, envelope.data)
            return "already there"
        if earlier is not None and not same and not self._replace:
            raise UploadReplayError(
                f"refused: {client_id} has already sent another vote in round {number}; --replace takes the new one"
            )
        manifest = vote_store.VoteManifest(
            client_id=client_id,
            round=number,
            ballot=ballot.digest,
            bytes=len(envelope.data),
            sha256=digest,
            signature=signature,
        )
        vote_store.keep(session.run, manifest, envelope.data)
        context = StageContext(str(session.run.root), "clients")
        session.events.upload_accepted(context, client_id, digest, len(envelope.data))
        noted.accepted(session, client_id, envelope.data, None if earlier is None else earlier.sha256)
        return "accepted"
