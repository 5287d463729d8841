"""Divide the training samples among simulated clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import partitioning
from fgl.core.server import removed
from fgl.core.stages.clients import _digest
from fgl.errors import DataError

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.core.session import Session


def partition_inputs(session: Session) -> dict[str, Any]:
    config = session.config
    files = session.manager.options("partition", config.partition).files()
    return {
        "dataset": session.info.digest,
        "partition": config.partition.model_dump(),
        "seed": config.seed,
        **({"files": {name: _digest(name) for name in files}} if files else {}),
    }


def partition(session: Session) -> tuple[dict[str, list[int]], str]:
    """Divide the training samples. Simulation only: a real deployment's clients hold what they hold."""

    def work(_: str) -> tuple[Any, list[Path]]:
        train = session.split("train")
        divided = partitioning.divide(session.manager, session.config, train)
        if not divided:
            raise DataError("the partition has no clients")
        path = session.run.partition_file
        session.run.write_json(path, divided)
        counts = {
            name: np.bincount(train.labels[rows], minlength=len(session.info.class_names)).tolist()
            for name, rows in divided.items()
        }
        return {"clients": len(divided), "samples": counts}, [path]

    _, digest = session.stage("partition", partition_inputs(session), work)
    divided = session.run.read_json(session.run.partition_file)
    return divided, digest


def held(session: Session) -> Labels:
    """Positions of the training samples that clients hold, in order; nobody's are left out, and so are those of clients
    that were taken out. Where clients have data of their own, all that is here."""
    train, out = session.split("train"), removed.removed_clients(session.run)
    if session.config.upload.clients is not None:
        return np.arange(len(train))
    if session.run.committed("partition", partition_inputs(session)) is not None:
        divided = session.run.read_json(session.run.partition_file)
    else:
        divided = partitioning.divide(session.manager, session.config, train)
    return np.array(sorted(row for name, rows in divided.items() if name not in out for row in rows), dtype=np.int64)
