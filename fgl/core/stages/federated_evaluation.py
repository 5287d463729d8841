"""The classifier, tested at the clients on images of their own: only counts go up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.numpy import load_file

from fgl.core.client import site
from fgl.core.report.scores import ClientTest
from fgl.core.server import client_counts
from fgl.core.stages import clients as clients_stage
from fgl.core.stages import rounds
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.store.typed import JsonObject, from_json, to_json
from fgl.core.wire import replies
from fgl.errors import ConfigError, Problem, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.session import Session


def inputs_of(session: Session, clients: Sequence[str], uploads: str, train_digest: str) -> Inputs:
    """uploads: digest of who sent what."""
    options = session.config.evaluation
    return {
        "train": train_digest,
        "dataset": session.info.digest,
        "clients": list(clients),
        "uploads": uploads,
        "per_class": options.per_class,
        "min_images": options.min_images if options.per_class else None,
        "preparation": session.real_inputs,
        "device": session.device_kind,
    }


def check(session: Session) -> None:
    """Raises ConfigError where the clients cannot be asked."""
    if session.remote_clients and session.config.evaluation.at_clients:
        expected = (
            "false: the clients are elsewhere, and a server that reads files cannot ask them to test a classifier"
        )
        raise ConfigError([Problem("evaluation.at_clients", "true", expected)])


def _inputs(session: Session, done: Done) -> Inputs:
    uploads = done[clients_stage.STAGE]
    return inputs_of(session, list(uploads.bytes_per_client), uploads.uploads, rounds.final_model(session, done))


def _work(session: Session, done: Done, digest: str) -> Work[ClientTest]:
    uploads = done[clients_stage.STAGE]
    accepted = list(uploads.bytes_per_client)
    return test(session, accepted, uploads.weight_per_class, rounds.final_state(session)), []


STAGE = Stage(
    name="evaluate:clients",
    needs=("clients", "train", "rounds"),
    result=ClientTest,
    enabled=lambda session: session.config.evaluation.at_clients,
    inputs=_inputs,
    work=_work,
    heading=lambda session: "the classifier tested at the clients",
)


def test(session: Session, clients: Sequence[str], claimed: Mapping[str, Sequence[float]], state: Path) -> ClientTest:
    """Send the classifier to each client and add up the counts that come back. A client that fails, or whose
    counts cannot be true, is named and left out."""
    federation = session.manager.create("federation", session.config.federation)
    collected = client_counts.collect(
        session,
        federation,
        clients,
        load_file(state),
        claimed,
        per_class=session.config.evaluation.per_class,
        progress=session.progress,
    )
    site.release()
    counts, refused = collected.counts, to_json(collected.refused)
    if not counts:
        raise UploadError(f"no client has tested the classifier: {strict_json.dumps(refused)[:500]}")
    return from_json(
        ClientTest,
        {
            **added_up(counts, session.info.class_names),
            "per_client": to_json(counts),
            "refused": refused,
            "bytes": {"down": collected.traffic.down, "up": collected.traffic.up},
            "stands_for": round(sum(sum(claimed[name]) for name in counts), 6),
        },
    )


def added_up(counts: Mapping[str, replies.ImageCounts], class_names: Sequence[str]) -> JsonObject:
    """right, total, top1 over all clients, and by class where clients gave that."""
    right, total = sum(each.right for each in counts.values()), sum(each.total for each in counts.values())
    per_class = {}
    for name in class_names:
        pairs = [each.per_class[name] for each in counts.values() if each.per_class and name in each.per_class]
        if pairs:
            of_class = [sum(pair[place] for pair in pairs) for place in (0, 1)]
            per_class[name] = {"right": of_class[0], "total": of_class[1], "top1": round(of_class[0] / of_class[1], 6)}
    return {"right": right, "total": total, "top1": round(right / total, 6), "per_class": per_class}
