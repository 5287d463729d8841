"""Rounds of the run's classifier, which are tested on the real test images."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgl.core.client import training
from fgl.core.report import metrics
from fgl.core.report.scores import RoundCounts
from fgl.core.seeds import round_seed
from fgl.core.server import client_counts
from fgl.core.stages import evaluate, train
from fgl.core.stages.round_engine import RoundEngine, ServerDivergedError, finite
from fgl.core.stages.rounds_spec import identity, local_classifier
from fgl.core.store.typed import to_json
from fgl.core.wire import requests
from fgl.errors import DivergedError

if TYPE_CHECKING:
    from fgl.contracts.algorithm import GlobalState
    from fgl.contracts.arrays import Array
    from fgl.contracts.classifier import Classifier
    from fgl.core.report.metrics import Scores
    from fgl.core.server.round_updates import RoundEntry
    from fgl.core.session import Session
    from fgl.core.stages.round_state import Committed
    from fgl.core.stages.rounds_spec import RoundsSpec, Start, SyntheticSet
    from fgl.core.stages.stage import Inputs
    from fgl.core.store.typed import JsonObject


log = logging.getLogger(__name__)
_LOST = 20.0  # times the loss of guessing


@dataclass(frozen=True, slots=True)
class Counted:
    """What clients say of a model that they tested on their own images."""

    counts: RoundCounts
    """Of all clients; a total of 0 where none gave any."""
    refused: dict[str, str]
    """Client → why there are no counts of it."""


class ClassifierEngine(RoundEngine):
    """Trains the run's classifier."""

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
        super().__init__(session, track, divided, partition_digest, start)
        self.counted = counted
        self.server_classifier: Classifier = session.manager.create("classifier", session.config.server_classifier())
        self._synthetic: SyntheticSet | None = None

    def identity(self, partition_digest: str) -> Inputs:
        return identity(self.session, self.track, partition_digest, self.start)

    def request(self) -> requests.Training:
        session, track = self.session, self.track
        return requests.Training(
            config=session.config,
            name=track.name,
            algorithm=track.algorithm,
            classifier=local_classifier(session, track),
            epochs=track.epochs,
            prepare=session.preparation,
            device=session.device,
            data=session.info.digest,
            digest=self.digest,
            noise=track.options.count if track.options.privacy is not None else 0,
        )

    def first(self) -> tuple[Mapping[str, Array], Sequence[str]]:
        context = train.context(self.session, self.track.name)
        given = None if self.start.state is None else self.start.state()
        classifier = self.session.classifier
        model = classifier.initial(context) if given is None else classifier.restore(given, context)
        return model.state("last"), model.trained()

    def measure(self, number: int, state: GlobalState, entry: RoundEntry) -> None:
        """Top-1 on the test images, where the round is tested, and what clients count on their own images."""
        tested = number == self.track.options.count or number % self.track.options.evaluate_every == 0
        if number <= self.counted and entry["clients"]:
            entry["counts"] = to_json(self.count(state.model, entry["clients"]).counts)
        if tested:
            entry["top1"] = float(self._score(state.model)["top1"])

    def count(self, model: Mapping[str, Array], clients: Sequence[str]) -> Counted:
        """On how many of their own images clients find a model right."""
        claimed = {client: [float(self.samples[client])] for client in clients}
        found = client_counts.collect(self.session, self.federation, clients, model, claimed)
        for client, refusal in found.refused.items():
            log.warning("%s: no counts of %s: %s", self.track.name, client, refusal.reason)
        counts = RoundCounts(right=found.right, total=found.total, down=found.traffic.down, up=found.traffic.up)
        return Counted(counts, {client: refusal.reason for client, refusal in found.refused.items()})

    def begin(self) -> Committed:
        """As of any engine, but rounds that clients should have been asked to test and were not are trained again: the
        global models that they would test are gone."""
        reached = super().begin()
        if any(entry["clients"] and "counts" not in entry for entry in reached.history[: self.counted]):
            log.warning(
                "%s: there are rounds that no client was asked to test: trained anew, from the first", self.track.name
            )
            return self._fresh()
        return reached

    def fine_tune(self, number: int, state: GlobalState) -> tuple[GlobalState, float]:
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
            raise ServerDivergedError(f"round {number}: the server's fine-tuning: {error}") from error
        state, loss = replace(state, model=model.state("last")), float(model.history()[-1]["loss"])
        try:
            finite(state, f"round {number}: the server's fine-tuning ended in")
        except DivergedError as error:
            raise ServerDivergedError(str(error)) from error
        # Weights may be huge and finite yet: every client that trained such a model on would be blamed for it.
        guessing = math.log(max(2, len(self.session.info.class_names)))
        if loss > _LOST * guessing:
            raise ServerDivergedError(
                f"round {number}: the server's fine-tuning diverged: its loss is {loss:.3g}, "
                f"that of guessing {guessing:.3g}"
            )
        return state, loss

    def release(self) -> None:
        training.release()

    def test_client(self, model: Mapping[str, Array]) -> JsonObject:
        """Scores of a client's model on the test images."""
        return metrics.short(self._score(model))

    def _score(self, model: Mapping[str, Array]) -> Scores:
        restored = self.session.classifier.restore(model, train.context(self.session, "test"))
        return evaluate.score(self.session, restored, "last")

    def rescue(self, number: int, state: GlobalState, part: str) -> str:
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
