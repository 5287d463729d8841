"""Rounds of votes whose votes come as files: a round is closed when all are there, or when its server says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fgl.core.server import log, vote_intake, vote_store
from fgl.core.stages.vote_rounds import Vote
from fgl.core.wire import ballots
from fgl.errors import TooFewUploadsError

if TYPE_CHECKING:
    from fgl.core.server.vote_intake import Collected, Standing
    from fgl.core.session import Session
    from fgl.core.wire.ballots import Ballot


class _OpenError(Exception):
    """A round waits for votes. Caught by `VoteByFile.advance`; never shown."""


class VoteByFile(Vote):
    """The rounds of one run whose clients are elsewhere. digest: of what determines them but the votes that came."""

    def __init__(self, session: Session, names: Sequence[str], digest: str) -> None:
        super().__init__(session, names, digest)
        self._close = 0

    def advance(self, close: int = 0) -> Standing:
        """Close each round whose votes are all there, make the ballot of the next one, and say how far it has come.

        close: number of a round that is closed with the votes that are there; 0: none. Raises TooFewUploadsError where
        these are too few."""
        session, self._close = self.session, close
        rounds = session.config.votes.rounds
        for number in range(len(self.rounds) + 1, rounds + 1):
            try:
                self.hold(number)
            except _OpenError:
                vote_store.reopen(session.run, number, rounds)
                break
        return vote_intake.standing(session, self.names)

    def hold_all(self) -> None:
        """Raises TooFewUploadsError where a round waits for votes: what for, and what to do."""
        found = self.advance()
        if not found.is_over:
            raise TooFewUploadsError(found.in_words(self.session.run.root))

    def _stands(self, number: int, kept: Mapping[str, Any]) -> bool:
        """Votes whose files were lost, or whose keys were revoked since, count no longer; with them the round is open
        again."""
        data = vote_store.ballot(self.session.run, number)
        if data is None:
            return False
        found = vote_intake.judged(self.session, ballots.own_ballot(data), self.names).answered
        return all(found.get(name) == one for name, one in kept["answered"].items())

    def _collected(self, ballot: Ballot, data: bytes) -> Collected:
        session = self.session
        found = vote_intake.judged(session, ballot, self.names)
        for name, note in found.refused.items():
            what = {"client": name, "kind": vote_intake.KIND, "round": ballot.round, "kept": True, **note}
            log.add(session.run, log.REFUSED, session.config.upload.run_id, **what)
        if set(self.names) - set(found.votes) and self._close != ballot.round:
            raise _OpenError
        return found
