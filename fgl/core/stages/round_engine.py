"""The one engine of every federated training, of whatever model: rounds from a track's start to its end."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.algorithm import GlobalState
from fgl.contracts.events import StageContext
from fgl.core.seeds import round_seed
from fgl.core.server import combining, round_updates
from fgl.core.stages import round_state
from fgl.core.stages.round_state import Committed
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import to_json
from fgl.errors import DataError, DivergedError

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm, LocalUpdate
    from fgl.contracts.arrays import Array
    from fgl.contracts.federation import Federation
    from fgl.core.server.round_updates import RoundEntry
    from fgl.core.session import Session
    from fgl.core.stages.rounds_spec import RoundsSpec, Start
    from fgl.core.stages.stage import Inputs
    from fgl.core.store.typed import JsonObject
    from fgl.core.wire import requests


log = logging.getLogger(__name__)


class ServerDivergedError(DivergedError):
    """It was the server's fine-tuning that did."""


class RoundEngine(ABC):
    """Rounds of any model that is a state of named arrays; a subclass says which model it is."""

    def __init__(
        self,
        session: Session,
        track: RoundsSpec,
        divided: Mapping[str, Sequence[int]],
        partition_digest: str,
        start: Start,
    ) -> None:
        self.session, self.track, self.start = session, track, start
        self.holders = sorted(client for client, rows in divided.items() if len(rows))
        if not self.holders:
            raise DataError(f"{track.algorithm.name}: no client has data; expected at least one")
        manager, config = session.manager, session.config
        self.algorithm: Algorithm = manager.create("algorithm", track.algorithm)
        self.rule = combining.rule_of(track.options, manager, len(self.holders))
        self.federation: Federation = manager.create("federation", config.federation)
        self.digest = digest_of(self.identity(partition_digest))
        self.store = round_state.place(session.run, track.name, self.digest)
        self.training = self.request()
        self.samples = {client: len(divided[client]) for client in self.holders}
        self.stage_context = StageContext(str(session.run.root), track.stage)
        self._anew = False

    @abstractmethod
    def identity(self, partition_digest: str) -> Inputs:
        """All that determines the training's course, except how long it is."""

    @abstractmethod
    def request(self) -> requests.Training | requests.AdapterTraining:
        """What clients are told, the same in each round."""

    @abstractmethod
    def first(self) -> tuple[Mapping[str, Array], Sequence[str]]:
        """(state, names of what an optimizer changes) of the global model before the first round."""

    def combine(self, number: int, state: GlobalState, sent: Sequence[LocalUpdate]) -> GlobalState:
        """What the server makes of a round's updates."""
        return self.algorithm.aggregate(state, sent, len(self.holders))

    @abstractmethod
    def measure(self, number: int, state: GlobalState, entry: RoundEntry) -> None:
        """Add to the entry of a round what is measured of the global model after it, if anything is."""

    def test_client(self, model: Mapping[str, Array]) -> JsonObject:
        """Scores of a client's model. Only called if the track has `test_clients`."""
        raise NotImplementedError(f"{type(self).__name__} tests no client's model: its track must not ask for it")

    def fine_tune(self, number: int, state: GlobalState) -> tuple[GlobalState, float]:
        """(state, loss) after the server trained the average of a round. Only called if the track has epochs of the
        server."""
        raise NotImplementedError(f"{type(self).__name__} has no training at the server: its track must not ask for it")

    @abstractmethod
    def rescue(self, number: int, state: GlobalState, part: str) -> str:
        """What to do after a round whose training diverged, and where the last good model is. part: whose training it
        was, "local" or "server"."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what simulated clients have loaded."""

    def train(self) -> tuple[GlobalState, list[RoundEntry]]:
        """The state after the last round, and one entry a round."""
        reached, count = self.begin(), self.track.options.count
        with self.session.progress.track(f"rounds ({self.track.name})", count - len(reached.history), "rounds") as task:
            while len(reached.history) < count:
                done = len(reached.history)
                reached = self.step(reached)
                task.advance(max(0, len(reached.history) - done), reached.line)
        self.release()
        self.check_answered(reached)
        return reached.state, reached.history

    def step(self, before: Committed) -> Committed:
        """One more round, tested and committed; or the beginning, where a client lost what it kept. Raises
        DivergedError and DataError."""
        number, began = len(before.history) + 1, time.monotonic()
        try:
            after, kept, entry = self._round(number, before)
        except DivergedError as error:
            part = "server" if isinstance(error, ServerDivergedError) else "local"
            raise DivergedError(f"{error}. {self.rescue(number, before.state, part)}") from error
        except round_updates.LostError as lost:
            return self._again(number, lost.client_id)
        entry["top1"] = None
        self.measure(number, after, entry)
        entry["seconds"] = round(time.monotonic() - began, 3)
        reached = Committed(after, [*before.history, entry], kept)
        round_state.write(self.store, reached)
        self.session.events.round_finished(self.stage_context, dict(entry))
        return reached

    def check_answered(self, reached: Committed) -> None:
        """Raises DataError where no client answered in any round."""
        if all(not entry["clients"] for entry in reached.history):
            raise DataError(
                f"{self.track.algorithm.name}: in none of {len(reached.history)} rounds did a client answer; lower "
                f"rounds.dropout ({self.track.options.dropout}), or shorten rounds.drop"
            )

    def begin(self) -> Committed:
        """What an earlier process has reached, or the beginning."""
        found = round_state.read(self.store)
        if found is not None:
            # A training that is to be shorter than what is there has no model of its last round: it begins anew.
            there, count = len(found.history), self.track.options.count
            if there <= count:
                return found
            log.warning(
                "%s: %d rounds are there and %d are asked for: trained anew, from the first",
                self.track.name,
                there,
                count,
            )
        return self._fresh()

    def _fresh(self) -> Committed:
        state, trained = self.first()
        return Committed(self.algorithm.start(state, trained), [], {})

    def _again(self, number: int, client_id: str) -> Committed:
        """The beginning, where rounds cannot be resumed; once, or a client could have them done again for ever."""
        self._anew = True
        log.warning(
            "%s, round %d: %s no longer has what it kept in an earlier round (its private folder was removed, damaged "
            "or put back from a backup, or only the server's part of the run was copied): trained anew, from the first "
            "round",
            self.track.name,
            number,
            client_id,
        )
        return self._fresh()

    def _round(self, number: int, before: Committed) -> tuple[GlobalState, dict[str, str], RoundEntry]:
        """(state, what clients keep, entry) after a round."""
        state, chosen = before.state, self._chosen(number)
        absent = self._absent(number, chosen)
        asked = [client for client in chosen if client not in absent]
        entry: RoundEntry = {
            "round": number,
            "clients": [],
            "dropped": absent,
            "failed": {},
            "samples": 0,
            "loss": None,
            "bytes_down": 0,
            "bytes_up": 0,
        }
        ask = round_updates.Ask(
            self.training,
            self.federation,
            self.samples,
            before.kept,
            self.track.options.max_update_ratio,
            lost=not self._anew,
        )
        extra, wanted = self.algorithm.broadcast(state), self.algorithm.reply(state)
        answers = round_updates.collect(self.session, ask, number, state, extra, wanted, asked, entry)
        if not answers:
            if asked:
                raise none_usable(number, entry["failed"])
            log.warning("round %d: all clients dropped out; the global model stays as it is", number)
            return state, before.kept, entry
        sent = self._capped([update for update, _ in answers], entry)
        private = self.track.options.privacy is not None
        if self.track.test_clients:
            entry["local"] = {update.client_id: self.test_client(update.model) for update in sent}
        entry["clients"] = [update.client_id for update in sent]
        if not private:  # else clients say neither
            entry["samples"] = sum(update.samples for update in sent)
            entry["loss"] = sum(update.samples * update.loss for update in sent) / entry["samples"]
        if private:
            sent = combining.fixed_mean(state, sent, len(chosen))
        if self.rule is not None:
            sent, said = combining.ruled(self.track.options.rule().name, self.rule, state, sent)
            entry["rule"] = to_json(said)
            if not sent:
                log.warning("round %d: %s; the global model stays as it is", number, said.refused)
                entry["clients"] = []
                return state, before.kept, entry
        state = self.combine(number, state, sent)
        finite(state, f"round {number}: {self.track.algorithm.name} put the updates together to")
        if self.track.options.server_epochs:
            state, entry["server_loss"] = self.fine_tune(number, state)
        return state, {**before.kept, **{update.client_id: kept for update, kept in answers}}, entry

    def _capped(self, updates: Sequence[LocalUpdate], entry: RoundEntry) -> list[LocalUpdate]:
        """Updates with the samples that they count for: no more than their clients' uploads declared."""
        most = {update.client_id: self.start.caps.get(update.client_id, update.samples) for update in updates}
        entry_caps = {
            update.client_id: most[update.client_id] for update in updates if update.samples > most[update.client_id]
        }
        if entry_caps:
            entry["capped"] = entry_caps
        return [replace(update, samples=min(update.samples, most[update.client_id])) for update in updates]

    def _chosen(self, number: int) -> list[str]:
        """Clients that are asked in a round: all, or a random share that follows from the seed and the round."""
        count = combining.number_asked(self.track.options.fraction, len(self.holders))
        picked = np.random.default_rng([self.session.config.seed, number]).choice(
            len(self.holders), count, replace=False
        )
        return [self.holders[index] for index in sorted(picked)]

    def _absent(self, number: int, chosen: Sequence[str]) -> list[str]:
        """Those of them that do not answer: listed, or by lot. The lot of a client does not depend on who else is
        asked."""
        options = self.track.options
        listed = set(options.drop.get(number, ()))
        rate, seed = options.dropout, self.session.config.seed
        return [
            client
            for client in chosen
            if client in listed
            or (rate and np.random.default_rng([round_seed(seed, number, client), 1]).random() < rate)
        ]


def none_usable(number: int, failed: Mapping[str, str]) -> DataError | DivergedError:
    reasons = "; ".join(f"{client}: {reason}" for client, reason in failed.items())
    if round_updates.diverged(failed):
        return DivergedError(f"round {number}: training diverged at {', '.join(failed)}: {reasons}")
    return DataError(f"round {number}: no client sent an update that could be used: {reasons}")


def finite(state: GlobalState, what: str) -> None:
    for part in (state.model, state.algorithm_state):
        for name, array in part.items():
            if not np.isfinite(array).all():
                raise DivergedError(f"{what} NaN or infinite values ({name})")
