"""Federated training, the server's side: models go down to clients, come back trained, and are put together.

The run's own rounds start from the one-shot model; the baselines start from a fresh one. Both are a `Track`: the same
engine, partition, seeds and test. A round is the unit of commit: RUN/rounds/<track>/state.safetensors holds the global
model, the algorithm's arrays and what happened in every round so far, under a digest of all that determines them except
the number of rounds, so that a longer training resumes a shorter one.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from fgl.core import committed, intake, local, metrics, training, updates
from fgl.core.committed import Committed
from fgl.core.errors import ConfigError, DataError, DivergedError, Problem
from fgl.core.settings import Selected
from fgl.core.store import digest_of
from fgl.core.types import GlobalState, LabelledPixels, StageContext

if TYPE_CHECKING:
    from fgl.core.contracts import Algorithm, Classifier, Federation
    from fgl.core.session import Session
    from fgl.core.settings import RoundsOptions
    from fgl.core.types import Array

log = logging.getLogger(__name__)
_LOST = 20.0  # times the loss of guessing
SyntheticSet = tuple[LabelledPixels, LabelledPixels | None]


class _ServerDivergedError(DivergedError):
    """It was the server's fine-tuning that did."""


@dataclass(frozen=True, slots=True)
class Track:
    """One federated training. name: of its folder. epochs: of local training; None for as many as the classifier's own
    options say. test_clients: whether the clients' models are tested too, each by itself, before they are put
    together. goes_on: whether it starts from a trained model, see `Component.continued`."""

    name: str
    stage: str
    algorithm: Selected
    options: RoundsOptions
    epochs: int | None
    test_clients: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Where a track starts. state: of the one-shot model, None for a fresh one. digest: of the stage that made it.
    synthetic: reads the synthetic set, for the server's fine-tuning."""

    state: Callable[[], Mapping[str, Array]] | None = None
    digest: str = ""
    synthetic: Callable[[], SyntheticSet] | None = None


def own_track(session: Session) -> Track:
    config = session.config
    return Track("own", "rounds", config.algorithm, config.rounds, config.rounds.local_epochs, goes_on=True)


def local_classifier(session: Session, track: Track) -> Selected:
    """The classifier as clients train it on this track."""
    chosen, others = session.config.classifier, session.config.rounds.local
    component = session.manager.registry.find("classifier", chosen.name).component
    continued = component.continued if track.goes_on else {}
    return Selected(name=chosen.name, options={**chosen.options, **continued, **others})


def baseline(session: Session, name: str) -> Selected:
    """An algorithm as the configuration's baselines have it, or with its defaults."""
    if name in session.config.baselines:
        return session.config.baselines[name]
    entry = session.manager.registry.find("algorithm", name)
    options = session.manager.registry.options_class(entry)(**entry.component.defaults)
    return Selected(name=name, options=options.model_dump(mode="json"))


def identity(session: Session, track: Track, partition_digest: str, start_digest: str) -> dict[str, Any]:
    """All that determines a track's course, except how long it is."""
    config, options = session.config, track.options
    how = options.model_dump(mode="json", exclude={"count", "local_epochs", "local", "server", "server_epochs"})
    how["drop"] = {str(number): names for number, names in options.drop.items()}  # as a record on disk has it
    fine = {"epochs": options.server_epochs, "classifier": config.server_classifier().model_dump()}
    clients = local_classifier(session, track).model_dump()
    return {
        "dataset": session.info.digest, "partition": partition_digest, "start": start_digest, "seed": config.seed,
        "classifier": clients, "epochs": track.epochs, "preparation": session.preparation.inputs(),
        "algorithm": track.algorithm.model_dump(), "server": fine if options.server_epochs else None, "rounds": how,
        "device": session.device.split(":")[0], "forgotten": intake.forgotten(session.run),
        "test_clients": track.test_clients, **session.weights("classifier"),
    }  # fmt: skip


def inputs_of(session: Session, track: Track, partition_digest: str, start_digest: str) -> dict[str, Any]:
    return {**identity(session, track, partition_digest, start_digest), "count": track.options.count}


def run(
    session: Session,
    track: Track,
    divided: Mapping[str, Sequence[int]],
    partition_digest: str,
    start: Start,
) -> tuple[dict[str, Any], str]:
    """Train, or go on with training, and test. divided: client → its samples.

    Returns the stage's value (`rounds`: one entry a round; `score`; `bytes_up`, `bytes_down`) and the digest of what it
    made. Raises DataError where no client has data, DivergedError where a client's or the server's training ends in
    NaN or infinite values: the model of the last good round is kept."""

    def work(_: str) -> tuple[Any, list[Path]]:
        state, history = _Engine(session, track, divided, partition_digest, start).train()
        model = session.classifier.restore(state.model, training.context(session, track.name))
        path = model_path(session, track)
        session.run.write(path, save({name: np.array(array, order="C") for name, array in state.model.items()}))
        return {
            "score": training.score(session, model, "last"),
            "rounds": history,
            "bytes_up": sum(entry["bytes_up"] for entry in history),
            "bytes_down": sum(entry["bytes_down"] for entry in history),
            "model_bytes": model.size_bytes(),
        }, [path]

    value, digest = session.stage(track.stage, inputs_of(session, track, partition_digest, start.digest), work)
    # A stage's time is that of the process that ended it; rounds that an earlier one committed have taken theirs.
    taken = round(sum(entry["seconds"] for entry in value["rounds"]), 2)
    session.seconds[track.stage] = max(session.seconds[track.stage], taken)
    return dict(value), session.made(track.stage, digest)


def model_path(session: Session, track: Track) -> Path:
    """Where the global model after the last round lies."""
    return session.run.path("rounds", track.name, "model.safetensors")


def reached(session: Session, track: Track, inputs: Mapping[str, Any]) -> int:
    """Rounds of a track that are committed and would be gone on from. inputs: what `inputs_of` returned."""
    done = _there(session, track, inputs)
    return done if done <= track.options.count else 0


def discarded(session: Session, track: Track, inputs: Mapping[str, Any]) -> int:
    """Rounds of a track that are committed and would be lost, since fewer are asked for now; 0 where none would."""
    done = _there(session, track, inputs)
    return done if done > track.options.count else 0


def _there(session: Session, track: Track, inputs: Mapping[str, Any]) -> int:
    course = digest_of({key: value for key, value in inputs.items() if key != "count"})
    found = committed.read(committed.place(session.run, track.name, course))
    return 0 if found is None else len(found.history)


class _Engine:
    def __init__(
        self, session: Session, track: Track, divided: Mapping[str, Sequence[int]], partition_digest: str, start: Start
    ) -> None:
        self.session, self.track, self.start = session, track, start
        self.holders = sorted(client for client, rows in divided.items() if len(rows))
        if not self.holders:
            raise DataError(f"{track.algorithm.name}: no client has data; expected one at least")
        manager, config = session.manager, session.config
        self.algorithm: Algorithm = manager.create("algorithm", track.algorithm)
        self.federation: Federation = manager.create("federation", config.federation)
        self.server_classifier: Classifier = manager.create("classifier", config.server_classifier())
        self.digest = digest_of(identity(session, track, partition_digest, start.digest))
        self.store = committed.place(session.run, track.name, self.digest)
        self.training = local.Training(
            config=config, name=track.name, algorithm=track.algorithm, classifier=local_classifier(session, track),
            epochs=track.epochs, prepare=session.preparation, device=session.device, data=session.info.digest,
            digest=self.digest,
        )  # fmt: skip
        self.samples = {client: len(divided[client]) for client in self.holders}
        self.stage_context = StageContext(str(session.run.root), track.stage)
        self._synthetic: SyntheticSet | None = None
        self._anew = False

    def train(self) -> tuple[GlobalState, list[dict[str, Any]]]:
        """The state after the last round, and one entry a round."""
        count = self.track.options.count
        reached = self._begun()
        with self.session.progress.track(f"rounds ({self.track.name})", count - len(reached.history), "rounds") as task:
            while len(reached.history) < count:
                number, began = len(reached.history) + 1, time.monotonic()
                try:
                    after, kept, entry = self._round(number, reached)
                except DivergedError as error:
                    part = "server" if isinstance(error, _ServerDivergedError) else "local"
                    raise DivergedError(f"{error}. {self._rescue(number, reached.state, part)}") from error
                except updates.LostError as lost:
                    reached = self._again(number, lost.client_id)
                    continue
                tested = number == count or number % self.track.options.evaluate_every == 0
                entry["top1"] = self._test(after) if tested else None
                entry["seconds"] = round(time.monotonic() - began, 3)
                reached = Committed(after, [*reached.history, entry], kept)
                committed.write(self.store, reached)
                self.session.manager.round_finished(self.stage_context, dict(entry))
                task.advance(1, "" if entry["top1"] is None else f"top-1 {entry['top1']:.1%}")
        local.release()
        if all(not entry["clients"] for entry in reached.history):
            raise DataError(
                f"{self.track.algorithm.name}: in none of {count} rounds did a client answer; lower rounds.dropout "
                f"({self.track.options.dropout}), or shorten rounds.drop"
            )
        return reached.state, reached.history

    def _begun(self) -> Committed:
        """What an earlier process has reached, or the beginning."""
        found = committed.read(self.store)
        if found is not None:
            # A training that is to be shorter than what is there has no model of its last round: it begins anew.
            there, count = len(found.history), self.track.options.count
            if there <= count:
                return found
            log.warning("%s: %d rounds are there and %d are asked for: trained anew, from the first", self.track.name,
                        there, count)  # fmt: skip
        return self._first()

    def _first(self) -> Committed:
        context = training.context(self.session, self.track.name)
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
            "round", self.track.name, number, client_id,
        )  # fmt: skip
        return self._first()

    def _round(self, number: int, before: Committed) -> tuple[GlobalState, dict[str, str], dict[str, Any]]:
        """(state, what clients keep, entry) after a round."""
        state, chosen = before.state, self._chosen(number)
        absent = self._absent(number, chosen)
        asked = [client for client in chosen if client not in absent]
        entry: dict[str, Any] = {
            "round": number, "clients": [], "dropped": absent, "failed": {}, "samples": 0, "loss": None,
            "bytes_down": 0, "bytes_up": 0,
        }  # fmt: skip
        ask = updates.Ask(self.training, self.federation, self.samples, before.kept,
                          self.track.options.max_update_ratio, lost=not self._anew)  # fmt: skip
        extra, wanted = self.algorithm.broadcast(state), self.algorithm.reply(state)
        answers = updates.collect(self.session, ask, number, state, extra, wanted, asked, entry)
        if not answers:
            if asked:
                raise _none_usable(number, entry["failed"])
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
            training.context(self.session, f"round {number}, server"),
            seed=_seed(self.session.config.seed, number),
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
            if client in listed or (rate and np.random.default_rng([_seed(seed, number, client), 1]).random() < rate)
        ]

    def _test(self, state: GlobalState) -> float:
        return float(self._score(state.model)["top1"])

    def _score(self, model: Mapping[str, Array]) -> dict[str, Any]:
        restored = self.session.classifier.restore(model, training.context(self.session, "test"))
        return training.score(self.session, restored, "last")

    def _rescue(self, number: int, state: GlobalState, part: str) -> str:
        """Save the last good model where a person can use it, and say where. part: whose training it was, "local" or
        "server"."""
        good = number - 1
        folder = self.session.run.path("rounds", self.track.name, f"classifier-round-{good}")
        model = self.session.classifier.restore(state.model, training.context(self.session, "rescue"))
        self.session.run.write_folder(folder, lambda part: model.save(part, "last"))
        return (
            f"The model of round {good} is kept in {folder}; lower the learning rate of "
            f"{'local training' if part == 'local' else 'the fine-tuning'} (rounds.{part}.lr), or stop there with "
            f"rounds.count={good}"
        )


def check(options: RoundsOptions, clients: Sequence[str]) -> None:
    """Raises ConfigError where `rounds.drop` names what is no client."""
    unknown = sorted({name for names in options.drop.values() for name in names} - set(clients))
    if unknown:
        some = ", ".join(clients[:10]) + (", …" if len(clients) > 10 else "")
        raise ConfigError([Problem("rounds.drop", ", ".join(unknown), f"expected clients of this run: {some}")])


def _none_usable(number: int, failed: Mapping[str, str]) -> DataError | DivergedError:
    reasons = "; ".join(f"{client}: {reason}" for client, reason in failed.items())
    if updates.diverged(failed):
        return DivergedError(f"round {number}: training diverged at {', '.join(failed)}: {reasons}")
    return DataError(f"round {number}: no client sent an update that could be used: {reasons}")


def _finite(state: GlobalState, what: str) -> None:
    for part in (state.model, state.own):
        for name, array in part.items():
            if not np.isfinite(array).all():
                raise DivergedError(f"{what} NaN or infinite values ({name})")


def _seed(seed: int, number: int, client: str = "") -> int:
    """A seed for a round, or for a client in a round, below 2^63."""
    return int.from_bytes(hashlib.sha256(f"{seed}/rounds/{number}/{client}".encode()).digest()[:8], "big") >> 1
