"""Federated training, the server's side: models go down to clients, come back trained, and are put together.

The run's own rounds start from the one-shot model, or from scratch where that is better (`round_start.py`); the
baselines start from a fresh one. Each is a `RoundsSpec`: the same engine, partition, seeds and test. A round is the
unit of commit: RUN/rounds/<name>/state.safetensors holds the global model, the algorithm's arrays and what happened in
every round so far, under a digest of all that determines them except the number of rounds, so that a longer training
resumes a shorter one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save

from fgl.contracts.arrays import contiguous
from fgl.core import private_rounds
from fgl.core.report import guess, metrics
from fgl.core.report.metrics import Scores
from fgl.core.report.scores import StartChoice
from fgl.core.server import combining
from fgl.core.server.round_updates import RoundEntry
from fgl.core.stages import clients, evaluate, partition, round_start, round_state, rounds_spec, synthesize, train
from fgl.core.stages.rounds_spec import Start, identity, local_classifier
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.owned import digest_of
from fgl.core.store.typed import from_json, json_field, to_json
from fgl.errors import ConfigError, Problem
from fgl.text import counted

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.stages.rounds_spec import RoundsSpec


log = logging.getLogger(__name__)
_CHOICE = "choice"
"""Key of a stage's inputs: what decides where rounds start."""


@dataclass(frozen=True, slots=True)
class RoundsResult:
    """A federated training, from its start to its end."""

    score: Scores
    """Of the model after the last round, on the real test split."""
    rounds: list[RoundEntry]
    """An entry a round: who took part, loss, bytes, and top-1 where it was tested."""
    bytes_up: int
    """Sent by all clients in all rounds."""
    bytes_down: int
    """Sent to all clients in all rounds."""
    model_bytes: int
    """Size of the model's weights."""
    start: StartChoice | None = json_field(omit_none=True)
    """Where they started, and why; None where the configuration says it."""


def inputs_of(session: Session, track: RoundsSpec, partition_digest: str, start: Start) -> Inputs:
    """Of the training that always was, with what decides where there is a choice of starts."""
    tried = round_start.candidates(session, track, start)
    first = tried[0]
    inputs = {
        **identity(session, first.spec, partition_digest, first.start),
        "count": track.options.count,
    }
    if len(tried) == 1:
        return inputs
    others = {one.name: local_classifier(session, one.spec).model_dump() for one in tried[1:]}
    return {**inputs, _CHOICE: {"trial_rounds": track.options.trial_rounds, "guess": start.guess, "others": others}}


def run(
    session: Session,
    track: RoundsSpec,
    divided: Mapping[str, Sequence[int]],
    partition_digest: str,
    start: Start,
) -> RoundsResult:
    """Train, or go on with training, and test, as a stage of its own. divided: client → its samples. Raises DataError
    where no client has data, DivergedError where a client's or the server's training ends in NaN or infinite values:
    the model of the last good round is kept."""

    def work(_: str) -> tuple[Any, Sequence[Path]]:
        result, files = _train(session, track, divided, partition_digest, start)
        return to_json(result), files

    value, _ = session.stage(track.stage, inputs_of(session, track, partition_digest, start), work)
    result = from_json(RoundsResult, value)
    _count_seconds(session, track.stage, result)
    return result


def _train(
    session: Session, track: RoundsSpec, divided: Mapping[str, Sequence[int]], partition_digest: str, start: Start
) -> Work[RoundsResult]:
    trained = round_start.train(session, track, divided, partition_digest, start)
    state, history, choice = trained.state, trained.history, trained.choice
    model = session.classifier.restore(state.model, train.context(session, track.name))
    path = model_path(session, track)
    session.run.write(path, save(contiguous(state.model)))
    result = RoundsResult(
        score=evaluate.score(session, model, "last"),
        rounds=history,
        bytes_up=sum(entry["bytes_up"] for entry in history) + (choice.bytes.up if choice else 0),
        bytes_down=sum(entry["bytes_down"] for entry in history) + (choice.bytes.down if choice else 0),
        model_bytes=model.size_bytes(),
        start=choice,
    )
    return result, [path]


def _count_seconds(session: Session, stage: str, result: RoundsResult) -> None:
    """A stage's time is that of the process that ended it; rounds that an earlier one committed have taken theirs."""
    taken = round(sum(entry["seconds"] for entry in result.rounds) + (result.start.seconds if result.start else 0), 2)
    session.seconds[stage] = max(session.seconds[stage], taken)


# --- the run's own rounds ---


def after_one_shot(session: Session, done: Done) -> Start:
    """Where rounds after the one-shot model start."""
    return Start(
        state=lambda: load_file(train.state_path(session, "selected")),
        digest=done.made(train.STAGE),
        synthetic=lambda: synthesize.own_set(session, done),
        guess=guess_of(done[clients.STAGE].weight_per_class),
        caps=caps_of(done[clients.STAGE].weight_per_class, partition.divided(session, done)),
    )


def caps_of(weights: Mapping[str, Sequence[float]], held: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Client → samples that its updates count for at most, of those whose uploads declared fewer than they hold: what
    was declared before is not outbid in a round. weights: as for `guess_of`. held: client → its samples."""
    declared = {client: max(1, math.floor(sum(of_class) + 0.5)) for client, of_class in weights.items()}
    return {client: most for client, most in declared.items() if most < len(held.get(client, ()))}


def guess_of(weights: Mapping[str, Sequence[float]]) -> float:
    """Share of the clients' images that the better of two guesses gets right: any class, or always the largest one.
    weights: client → samples of each class, as its upload states them."""
    totals = [sum(of_class) for of_class in zip(*weights.values(), strict=True)]
    return round(max(1 / len(totals), max(totals) / sum(totals)), 6) if totals and sum(totals) > 0 else 0.0


def start_warning(session: Session, done: Done) -> str:
    """Where rounds start from a one-shot model that does not beat a guess because the configuration says so: a warning,
    logged; "" elsewhere."""
    if not STAGE.enabled(session) or session.config.rounds.start != round_start.ONE_SHOT:
        return ""
    test_set = metrics.about(session.split("test").labels, session.info.class_names)
    return guess.useless_start(test_set, done[evaluate.STAGE].selected["top1"])


def notes(session: Session, done: Done) -> list[str]:
    """What a reader of the result must know of where rounds started, in words."""
    warning, result = done.once(start_warning, session), done.get(STAGE)
    start = None if result is None else result.start
    chosen = [] if start is None or round_start.is_compared(start) else [start.reason]
    if result is not None and session.config.rounds.privacy is not None:
        chosen.append(f"rounds.privacy: {done.once(_noise, session)}")
    return [warning, *chosen] if warning else chosen


def _noise(session: Session, done: Done) -> str:
    return noise_of(session, len(partition.client_ids(session, done)))


def noise_of(session: Session, clients: int) -> str:
    """What the noise of private rounds does to a round's sum, in words. clients: of which a share is asked.

    Raises ConfigError where the sum would be noise alone, or where the classifier has statistics of BatchNorm, which
    never leave the clients, and nothing else would ever estimate them."""
    options, config = session.config.rounds, session.config
    assert options.privacy is not None
    model = session.classifier.initial(train.context(session, "check"))
    state, trained = model.state("last"), set(model.trained())
    buffers = [name for name, array in state.items() if name not in trained and np.issubdtype(array.dtype, np.floating)]
    if buffers and options.start == round_start.SCRATCH:
        expected = (
            f"expected rounds.start=one-shot, or a classifier without BatchNorm: clients of private rounds send no "
            f"statistics, and from scratch the {len(buffers)} of this one would stay as they began"
        )
        raise ConfigError([Problem("rounds.start", options.start, expected)])
    numbers = sum(state[name].size for name in trained)
    asked = combining.number_asked(options.fraction, clients)
    return private_rounds.check_noise(options.privacy, options.count, config.privacy.delta, numbers, asked)


def _warn_of_start(session: Session, done: Done) -> None:
    done.once(start_warning, session)


def _own_inputs(session: Session, done: Done) -> Inputs:
    track = rounds_spec.own_rounds_spec(session)
    return inputs_of(session, track, partition_digest(session, done), after_one_shot(session, done))


def _own_work(session: Session, done: Done, digest: str) -> Work[RoundsResult]:
    track, divided = rounds_spec.own_rounds_spec(session), partition.divided(session, done)
    return _train(session, track, divided, partition_digest(session, done), after_one_shot(session, done))


def _own_partial(session: Session, stage: str, inputs: Inputs) -> str:
    reached_now = reached(session, rounds_spec.own_rounds_spec(session), inputs)
    return f"{reached_now} of {session.config.rounds.count} rounds are there" if reached_now else ""


def partition_digest(session: Session, done: Done) -> str:
    """Of who holds what; "" where the clients hold data of their own."""
    return done.made(partition.STAGE) if partition.STAGE.enabled(session) else ""


def _count_own_seconds(session: Session, done: Done) -> None:
    _count_seconds(session, "rounds", done[STAGE])


STAGE: Stage[RoundsResult] = Stage(
    name="rounds",
    needs=("partition", "clients", "train", "evaluate"),
    result=RoundsResult,
    enabled=lambda session: session.config.rounds.count > 0,
    inputs=_own_inputs,
    work=_own_work,
    made=lambda session, digest, result: session.made("rounds", digest),
    before=_warn_of_start,
    after=_count_own_seconds,
    outputs=("rounds",),
    heading=lambda session: (
        f"{counted(session.config.rounds.count, 'round')} of federated training after the one-shot model"
    ),
    partial=_own_partial,
    resumes=True,
)


def final_model(session: Session, done: Done) -> str:
    """Digest of what the stage that ends with the run's final model made."""
    return done.made(STAGE if STAGE.enabled(session) else train.STAGE)


def final_state(session: Session) -> Path:
    """Where the weights of the run's final model are."""
    if STAGE.enabled(session):
        return model_path(session, rounds_spec.own_rounds_spec(session))
    return train.state_path(session, "selected")


def final_scores(session: Session, done: Done) -> Scores:
    """Of the run's final model: of the one-shot model, or with rounds of the one after the last, which nothing
    selected."""
    federated = done.get(STAGE)
    return done[evaluate.STAGE].selected if federated is None else federated.score


# --- of any track ---


def model_path(session: Session, track: RoundsSpec) -> Path:
    """Where the global model after the last round lies."""
    return session.run.path("rounds", track.name, "model.safetensors")


def reached(session: Session, track: RoundsSpec, inputs: Inputs) -> int:
    """Rounds of a track that are committed and would be gone on from. inputs: what `inputs_of` returned."""
    done = _there(session, track, inputs)
    return done if done <= track.options.count else 0


def discarded(session: Session, track: RoundsSpec, inputs: Inputs) -> int:
    """Rounds of a track that are committed and would be lost, since fewer are asked for now; 0 where none would."""
    done = _there(session, track, inputs)
    return done if done > track.options.count else 0


def _there(session: Session, track: RoundsSpec, inputs: Inputs) -> int:
    """Committed rounds of the longest of the trainings that may count."""
    caps = inputs.get("caps")
    start = Start(digest=str(inputs["start"]), caps=dict(caps) if isinstance(caps, Mapping) else {})
    lengths = [0]
    for one in round_start.candidates(session, track, start):
        course = digest_of(identity(session, one.spec, str(inputs["partition"]), one.start))
        committed = round_state.read(round_state.place(session.run, one.spec.name, course))
        lengths.append(0 if committed is None else len(committed.history))
    return max(lengths)


def check(session: Session, clients: Sequence[str]) -> None:
    """Raises ConfigError where `rounds.drop` names what is no client, or a round has too few clients for its rule or
    for the noise of its updates."""
    options = session.config.rounds
    combining.rule_of(options, session.manager, len(clients))
    if options.count and options.privacy is not None:
        log.warning("rounds.privacy: %s", noise_of(session, len(clients)))
    unknown = sorted({name for names in options.drop.values() for name in names} - set(clients))
    if unknown:
        some = ", ".join(clients[:10]) + (", …" if len(clients) > 10 else "")
        raise ConfigError([Problem("rounds.drop", ", ".join(unknown), f"expected clients of this run: {some}")])
