"""Federated training, the server's side: models go down to clients, come back trained, and are put together.

The run's own rounds start from the one-shot model; the baselines start from a fresh one. Both are a `Track`: the same
engine, partition, seeds and test. A round is the unit of commit: RUN/rounds/<track>/state.safetensors holds the global
model, the algorithm's arrays and what happened in every round so far, under a digest of all that determines them except
the number of rounds, so that a longer training resumes a shorter one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save

from fgl.contracts.arrays import contiguous
from fgl.core.stages import evaluate, round_state, train
from fgl.core.stages.round_engine import RoundEngine
from fgl.core.stages.rounds_spec import identity
from fgl.core.store.owned import digest_of
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.core.config.schema import RoundsOptions
    from fgl.core.session import Session
    from fgl.core.stages.rounds_spec import RoundsSpec, Start


log = logging.getLogger(__name__)


def inputs_of(session: Session, track: RoundsSpec, partition_digest: str, start_digest: str) -> dict[str, Any]:
    return {**identity(session, track, partition_digest, start_digest), "count": track.options.count}


def run(
    session: Session,
    track: RoundsSpec,
    divided: Mapping[str, Sequence[int]],
    partition_digest: str,
    start: Start,
) -> tuple[dict[str, Any], str]:
    """Train, or go on with training, and test. divided: client → its samples.

    Returns the stage's value (`rounds`: one entry a round; `score`; `bytes_up`, `bytes_down`) and the digest of what it
    made. Raises DataError where no client has data, DivergedError where a client's or the server's training ends in
    NaN or infinite values: the model of the last good round is kept."""

    def work(_: str) -> tuple[Any, list[Path]]:
        state, history = RoundEngine(session, track, divided, partition_digest, start).train()
        model = session.classifier.restore(state.model, train.context(session, track.name))
        path = model_path(session, track)
        session.run.write(path, save(contiguous(state.model)))
        return {
            "score": evaluate.score(session, model, "last"),
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


def model_path(session: Session, track: RoundsSpec) -> Path:
    """Where the global model after the last round lies."""
    return session.run.path("rounds", track.name, "model.safetensors")


def reached(session: Session, track: RoundsSpec, inputs: Mapping[str, Any]) -> int:
    """Rounds of a track that are committed and would be gone on from. inputs: what `inputs_of` returned."""
    done = _there(session, track, inputs)
    return done if done <= track.options.count else 0


def discarded(session: Session, track: RoundsSpec, inputs: Mapping[str, Any]) -> int:
    """Rounds of a track that are committed and would be lost, since fewer are asked for now; 0 where none would."""
    done = _there(session, track, inputs)
    return done if done > track.options.count else 0


def _there(session: Session, track: RoundsSpec, inputs: Mapping[str, Any]) -> int:
    course = digest_of({key: value for key, value in inputs.items() if key != "count"})
    found = round_state.read(round_state.place(session.run, track.name, course))
    return 0 if found is None else len(found.history)


def check(options: RoundsOptions, clients: Sequence[str]) -> None:
    """Raises ConfigError where `rounds.drop` names what is no client."""
    unknown = sorted({name for names in options.drop.values() for name in names} - set(clients))
    if unknown:
        some = ", ".join(clients[:10]) + (", …" if len(clients) > 10 else "")
        raise ConfigError([Problem("rounds.drop", ", ".join(unknown), f"expected clients of this run: {some}")])
