"""The classifier, tested at the clients on images of their own: only counts go up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load_file

from fgl.core.client import site
from fgl.core.server import upload_store
from fgl.core.server import uploads as server_uploads
from fgl.core.wire import replies, requests
from fgl.errors import ConfigError, Problem, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.session import Session


STAGE = "evaluate:clients"


def inputs_of(session: Session, clients: Sequence[str], uploads: str, train_digest: str) -> dict[str, Any]:
    """uploads: digest of who sent what."""
    options = session.config.evaluation
    return {
        "train": train_digest,
        "dataset": session.info.digest,
        "clients": list(clients),
        "uploads": uploads,
        "per_class": options.per_class,
        "min_images": options.min_images if options.per_class else None,
        "preparation": session.preparation.inputs(),
        "device": session.device.split(":")[0],
    }


def check(session: Session) -> None:
    """Raises ConfigError where the clients cannot be asked."""
    if session.remote_clients and session.config.evaluation.at_clients:
        expected = (
            "false: the clients are elsewhere, and a server that reads files cannot ask them to test a classifier"
        )
        raise ConfigError([Problem("evaluation.at_clients", "true", expected)])


def run_stage(
    session: Session, uploads: Mapping[str, Any], made_by: str, state: Path | None = None
) -> dict[str, Any] | None:
    """The stage of a run: None unless the configuration asks for it. uploads: what `server.collect` returned. made_by:
    digest of the stage that wrote `state`, the classifier to test; the selected one-shot model's by default."""
    if not session.config.evaluation.at_clients:
        return None
    check(session)
    accepted = list(uploads["bytes_per_client"])

    def work(_: str) -> tuple[Any, list[Path]]:
        return test(session, accepted, uploads["weight_per_class"], state), []

    value, _ = session.stage(STAGE, inputs_of(session, accepted, uploads["uploads"], made_by), work)
    return dict(value)


def test(
    session: Session, clients: Sequence[str], claimed: Mapping[str, Sequence[float]], state: Path | None
) -> dict[str, Any]:
    """Send the classifier to each client and add up the counts that come back. A client that fails, or whose
    counts cannot be true, is named and left out."""
    config, names = session.config, session.info.class_names
    federation = session.manager.create("federation", config.federation)
    weights = load_file(session.run.path("train", "selected.safetensors") if state is None else state)
    sent = {"down": 0, "up": 0}
    counts: dict[str, Any] = {}
    refused: dict[str, dict[str, str]] = {}

    def payload(client_id: str) -> bytes:
        data = requests.task_request(
            config,
            client_id,
            session.device,
            session.info.digest,
            weights,
            prepare=session.preparation.inputs(),
            private=str(upload_store.private_folder(session.run, client_id)),
        )
        sent["down"] += len(data)
        return data

    for client_id, reply in federation.call(clients, requests.EVALUATE, payload, session.progress):
        try:
            data = server_uploads.reply_of(reply)
            sent["up"] += len(data)
            counts[client_id] = replies.validate_counts(
                data, client_id, names, config.evaluation.per_class, claimed.get(client_id)
            )
        except UploadError as error:
            refused[client_id] = {"rule": error.rule, "reason": str(error)}
    site.release()
    if not counts:
        raise UploadError(f"no client has tested the classifier: {strict_json.dumps(refused)[:500]}")
    return {
        **added_up(counts, names),
        "per_client": counts,
        "refused": refused,
        "bytes": sent,
        "stands_for": round(sum(sum(claimed[name]) for name in counts), 6),
    }


def added_up(counts: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """right, total, top1 over all clients, and by class where clients gave that."""
    right, total = (sum(one[key] for one in counts.values()) for key in ("right", "total"))
    per_class = {}
    for name in class_names:
        pairs = [one["per_class"][name] for one in counts.values() if name in one.get("per_class", {})]
        if pairs:
            of_class = [sum(pair[place] for pair in pairs) for place in (0, 1)]
            per_class[name] = {"right": of_class[0], "total": of_class[1], "top1": round(of_class[0] / of_class[1], 6)}
    return {"right": right, "total": total, "top1": round(right / total, 6), "per_class": per_class}
