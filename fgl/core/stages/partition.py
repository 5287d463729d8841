"""Divide the training samples among simulated clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.core import model_digests, partitioning
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.core.session import Session


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """Who holds how much. The samples themselves are listed in partition.json."""

    clients: int
    """Number of simulated clients."""
    samples: dict[str, list[int]]
    """Client → its samples of each class, in the order of the class list."""


def partition_inputs(session: Session) -> Inputs:
    config = session.config
    files = session.manager.options("partition", config.partition).files()
    return {
        "dataset": session.info.digest,
        "partition": config.partition.model_dump(),
        "seed": config.seed,
        **({"files": {name: model_digests.of_path(name) for name in files}} if files else {}),
    }


def _work(session: Session, done: Done, digest: str) -> Work[PartitionResult]:
    train = session.split("train")
    parts = partitioning.divide(session.manager, session.config, train)
    if not parts:
        raise DataError("the partition has no clients")
    session.run.write_json(session.run.partition_file, parts)
    counts = {
        name: np.bincount(train.labels[rows], minlength=len(session.info.class_names)).tolist()
        for name, rows in parts.items()
    }
    return PartitionResult(len(parts), counts), [session.run.partition_file]


def one_shot_heading(session: Session) -> str:
    strategy = session.config.prompt_strategy.name
    return f"one-shot run with {strategy} prompts" if session.yields_images else f"one-shot run with {strategy}"


STAGE = Stage(
    name="partition",
    needs=(),
    result=PartitionResult,
    enabled=lambda session: session.config.upload.clients is None,
    inputs=lambda session, done: partition_inputs(session),
    work=_work,
    given=("partition.json", "stages/partition.json"),
    heading=one_shot_heading,
)
"""Simulation only: a real deployment's clients hold what they hold."""


def client_ids(session: Session, done: Done) -> Sequence[str]:
    """All clients of the run, also those that were taken out. Raises NotDoneError."""
    listed = session.config.upload.clients
    return list(done[STAGE].samples) if listed is None else listed


def expected_clients(session: Session) -> Sequence[str]:
    """The clients of a run before anything is done."""
    listed = session.config.upload.clients
    if listed is not None:
        return listed
    return sorted(partitioning.divide(session.manager, session.config, session.split("train")))


def divided(session: Session, done: Done) -> dict[str, list[int]]:
    """Client → positions of its training samples, without clients that were taken out; empty where clients have data
    of their own."""
    return done.once(_divided, session)


def _divided(session: Session, done: Done) -> dict[str, list[int]]:
    if done.get(STAGE) is None:
        return {}
    out = session.removed_clients
    parts: dict[str, list[int]] = session.run.read_json(session.run.partition_file)
    return {name: rows for name, rows in parts.items() if name not in out}


def held(session: Session) -> Labels:
    """Positions of the training samples that clients hold, in order; nobody's are left out, and so are those of clients
    that were taken out. Where clients have data of their own, all that is here."""
    train, out = session.split("train"), session.removed_clients
    if session.config.upload.clients is not None:
        return np.arange(len(train))
    if session.run.committed("partition", partition_inputs(session)) is not None:
        parts = session.run.read_json(session.run.partition_file)
    else:
        parts = partitioning.divide(session.manager, session.config, train)
    return np.array(sorted(row for name, rows in parts.items() if name not in out for row in rows), dtype=np.int64)
