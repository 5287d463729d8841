"""The one engine of every federated training: rounds from a track's start to its end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.algorithm import GlobalState
from fgl.contracts.events import StageContext
from fgl.core.client import training
from fgl.core.report import metrics
from fgl.core.report.scores import RoundCounts
from fgl.core.seeds import round_seed
from fgl.core.server import client_counts, round_updates
from fgl.core.stages import evaluate, round_state, train
from fgl.core.stages.round_state import Committed
from fgl.core.stages.rounds_spec import identity, local_classifier
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import to_json
from fgl.core.wire import requests
from fgl.errors import DataError, DivergedError

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Classifier
    from fgl.contracts.federation import Federation
    from fgl.core.report.metrics import Scores
    from fgl.core.server.round_updates import RoundEntry
    from fgl.core.session import Session
    from fgl.core.stages.rounds_spec import RoundsSpec, Start, SyntheticSet


log = logging.getLogger(__name__)
_LOST = 20.0  # times the loss of guessing


class _ServerDivergedError(DivergedError):
    """It was the server's fine-tuning that did."""


class RoundEngine:
    def __init__(
        self,
        session: Session,
        track: RoundsSpec,
        divided: Mapping[str, Sequence[int]],
        partition_digest: str,
        start: Start,
        counted: int = 0,
    ) -> None:
        """counted: rounds after which clients test the global model on their own images."""
        self.counted = counted
        self.session, self.track, self.start = session, track, start
        self.holders = sorted(client for client, rows in divided.items() if len(rows))
        if not self.holders:
            raise DataError(f"{track.algorithm.name}: no client has data; expected at least one")
        manager, config = session.manager, session.config
        self.algorithm: Algorithm = manager.create("algorithm", track.algorithm)
        self.federation: Federation = manager.create("federation", config.federation)
        self.server_classifier: Classifier = manager.create("classifier", config.server_classifier())
        self.digest = digest_of(identity(session, track, partition_digest, start.digest))
        self.store = round_state.place(session.run, track.name, self.digest)
        self.training = requests.Training(
            config=config,
            name=track.name,
            algorithm=track.algorithm,
            classifier=local_classifier(session, track),
            epochs=track.epochs,
            prepare=session.preparation,
            device=session.device,
            data=session.info.digest,
            digest=self.digest,
        )
        self.samples = {client: len(divided[client]) for client in self.holders}
        self.stage_context = StageContext(str(session.run.root), track.stage)
        self._synthetic: SyntheticSet | None = None
        self._anew = False

    def train(self) -> tuple[GlobalState, list[RoundEntry]]:
        """The state after the last round, and one entry a round."""
        reached, count = self.begin(), self.track.options.count
        with self.session.progress.track(f"rounds ({self.track.name})", count - len(reached.history), "rounds") as task:
            while len(reached.history) < count:
                done = len(reached.history)
                reached = self.step(reached)
                task.advance(max(0, len(reached.history) - done), reached.line)
        training.release()
        self.check_answered(reached)
        return reached.state, reached.history

    def step(self, before: Committed) -> Committed:
        """One more round, tested and committed; or the beginning, where a client lost what it kept. Raises
        DivergedError and DataError."""
        number, began = len(before.history) + 1, time.monotonic()
        try:
            after, kept, entry = self._round(number, before)
        except DivergedError as error:
            part = "server" if isinstance(error, _ServerDivergedError) else "local"
            raise DivergedError(f"{error}. {self._rescue(number, before.state, part)}") from error
        except round_updates.LostError as lost:
            return self._again(number, lost.client_id)
        tested = number == self.track.options.count or number % self.track.options.evaluate_every == 0
        if number <= self.counted and entry["clients"] and (counts := self.count(after.model, entry["clients"])):
            entry["counts"] = to_json(counts)
        entry["top1"] = self._test(after) if tested else None
        entry["seconds"] = round(time.monotonic() - began, 3)
        reached = Committed(after, [*before.history, entry], kept)
        round_state.write(self.store, reached)
        self.session.events.round_finished(self.stage_context, dict(entry))
        return reached

    def count(self, model: Mapping[str, Array], clients: Sequence[str]) -> RoundCounts | None:
        """On how many of their own images clients find a model right; None where none of them says."""
        claimed = {client: [float(self.samples[client])] for client in clients}
        found = client_counts.collect(self.session, self.federation, clients, model, claimed)
        for client, refusal in found.refused.items():
            log.warning("%s: no counts of %s: %s", self.track.name, client, refusal.reason)
        if not found.total:
            return None
        return RoundCounts(right=found.right, total=found.total, down=found.traffic.down, up=found.traffic.up)

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
        return self._first()

    def _first(self) -> Committed:
        context = train.context(self.session, self.track.name)
        given = None if self.start.state is None else self.start.state()
        classifier = self.session.classifier
        model = classifier.initial(context) if given is None else classifier.restore(given, context)
        return Committed(self.algorithm.start(model.state("last"), model.trained()), [], {})

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
        return self._first()

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
        sent = [update for update, _ in answers]
        if self.track.test_clients:
            entry["local"] = {update.client_id: metrics.short(self._score(update.model)) for update in sent}
        entry["clients"] = [update.client_id for update in sent]
        entry["samples"] = sum(update.samples for update in sent)
        entry["loss"] = sum(update.samples * update.loss for update in sent) / entry["samples"]
        state = self.algorithm.aggregate(state, sent, len(self.holders))
        _finite(state, f"round {number}: {self.track.algorithm.name} put the updates together to")
        if self.track.options.server_epochs:
            state, entry["server_loss"] = self._fine_tune(number, state)
        return state, {**before.kept, **{update.client_id: kept for update, kept in answers}}, entry

    def _fine_tune(self, number: int, state: GlobalState) -> tuple[GlobalState, float]:
        """The paper's second variant: the average is trained on the synthetic set."""
        assert self.start.synthetic is not None
        if self._synthetic is None:
            self._synthetic = self.start.synthetic()
        context = replace(
            train.context(self.session, f"round {number}, server"),
            seed=round_seed(self.session.config.seed, number),
            start=state.model,
            epochs=self.track.options.server_epochs,
        )
        try:
            model = self.server_classifier.fit(self._synthetic[0], None, context)
        except DivergedError as error:
            raise _ServerDivergedError(f"round {number}: the server's fine-tuning: {error}") from error
        state, loss = replace(state, model=model.state("last")), float(model.history()[-1]["loss"])
        try:
            _finite(state, f"round {number}: the server's fine-tuning ended in")
        except DivergedError as error:
            raise _ServerDivergedError(str(error)) from error
        # Weights may be huge and finite yet: every client that trained such a model on would be blamed for it.
        guessing = math.log(max(2, len(self.session.info.class_names)))
        if loss > _LOST * guessing:
            raise _ServerDivergedError(
                f"round {number}: the server's fine-tuning diverged: its loss is {loss:.3g}, "
                f"that of guessing {guessing:.3g}"
            )
        return state, loss

    def _chosen(self, number: int) -> list[str]:
        """Clients that are asked in a round: all, or a random share that follows from the seed and the round."""
        count = max(1, round(self.track.options.fraction * len(self.holders)))
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

    def _test(self, state: GlobalState) -> float:
        return float(self._score(state.model)["top1"])

    def _score(self, model: Mapping[str, Array]) -> Scores:
        restored = self.session.classifier.restore(model, train.context(self.session, "test"))
        return evaluate.score(self.session, restored, "last")

    def _rescue(self, number: int, state: GlobalState, part: str) -> str:
        """Save the last good model where a person can use it, and say where. part: whose training it was, "local" or
        "server"."""
        good = number - 1
        folder = self.session.run.path("rounds", self.track.name, f"classifier-round-{good}")
        model = self.session.classifier.restore(state.model, train.context(self.session, "rescue"))
        self.session.run.write_folder(folder, lambda part: model.save(part, "last"))
        return (
            f"The model of round {good} is kept in {folder}; lower the learning rate of "
            f"{'local training' if part == 'local' else 'the fine-tuning'} (rounds.{part}.lr), or stop there with "
            f"rounds.count={good}"
        )


def none_usable(number: int, failed: Mapping[str, str]) -> DataError | DivergedError:
    reasons = "; ".join(f"{client}: {reason}" for client, reason in failed.items())
    if round_updates.diverged(failed):
        return DivergedError(f"round {number}: training diverged at {', '.join(failed)}: {reasons}")
    return DataError(f"round {number}: no client sent an update that could be used: {reasons}")


def _finite(state: GlobalState, what: str) -> None:
    for part in (state.model, state.algorithm_state):
        for name, array in part.items():
            if not np.isfinite(array).all():
                raise DivergedError(f"{what} NaN or infinite values ({name})")
