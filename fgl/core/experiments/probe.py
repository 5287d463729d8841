"""Does the generator know this domain? A few pictures of each class, judged by clients beside a few of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.progress import Announcing
from fgl.core.client import site
from fgl.core.partitioning import divide
from fgl.core.server import uploads
from fgl.core.stages import baselines, features, plan
from fgl.core.synthesis import fill
from fgl.core.synthesis.plan import make_plan
from fgl.core.wire import replies, requests
from fgl.errors import ConfigError, DataError, Problem, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.core.session import Session


LEARN_IMAGES = 1000


def probe(session: Session, per_class: int, learn_images: int = LEARN_IMAGES) -> dict[str, Any]:
    """Paint `per_class` pictures of each class from class-name prompts, send their features to every client, and gather
    the scores that come back. Nothing is written. learn_images: most real images that a space which learns is trained
    on. Raises FGLError; a client that fails is named and left out."""
    if per_class < 1:
        raise ConfigError([Problem("--per-class", str(per_class), "expected 1 or more")], "the command line")
    start = time.monotonic()
    config, names = session.config, session.info.class_names
    train = session.split("train")
    divided = divide(session.manager, config, train)
    clients = [name for name, rows in divided.items() if rows]
    space = session.manager.create("features", config.features)
    learnt = features.learning(session, "train") if space.learns() else None
    if learnt is not None:
        learnt = learnt.bounded(session.split(learnt.split).labels, learn_images, config.seed)
        _say(
            session,
            f"the feature space {config.features.name!r} is trained on {learnt.said}; dinov2 and pixels need "
            "no training",
        )
    state = {} if learnt is None else features.learn(session, space, learnt)
    extractor = features.extractor_of(session, space, state)
    labels, pixels = pictures(session, per_class)
    arrays = {
        **{f"state/{name}": array for name, array in state.items()},
        "features": extractor.features(pixels, session.progress),
        "labels": labels,
    }
    sent = {"down": 0, "up": 0}
    found: dict[str, Any] = {}
    refused: dict[str, dict[str, str]] = {}

    def payload(client_id: str) -> bytes:
        data = requests.task_request(
            config,
            client_id,
            session.device,
            session.info.digest,
            arrays,
            size=session.image_size,
            per_class=per_class,
            learnt=learnt is not None and learnt.left is not None,
        )
        sent["down"] += len(data)
        return data

    federation = session.manager.create("federation", config.federation)
    for client_id, reply in federation.call(clients, requests.PROBE, payload, session.progress):
        try:
            data = uploads.reply_of(reply)
            sent["up"] += len(data)
            found[client_id] = replies.validate_scores(data, client_id, names, per_class)
        except UploadError as error:
            refused[client_id] = {"rule": error.rule, "reason": str(error)}
    site.release()
    if not found:
        reasons = "; ".join(f"{name}: {one['reason']}" for name, one in list(refused.items())[:3])
        raise DataError(f"no client could judge the pictures: {reasons}")
    generator = strict_json.finite(session.generator.describe())
    return {
        "space": features.described(session, extractor, learnt),
        "generator": {key: generator.get(key) for key in ("model", "revision", "commit", "image_size")},
        "pictures": {"per_class": per_class, "classes": len(names), "images": len(labels)},
        "clients": found,
        "all": added_up(found),
        "refused": refused,
        "chance": round(1 / len(names), 6),
        "min_images": config.evaluation.min_images,
        "bytes": sent,
        "seconds": round(time.monotonic() - start, 1),
    }


def _say(session: Session, text: str) -> None:
    if isinstance(session.progress, Announcing):
        session.progress.heading(text)


def pictures(session: Session, per_class: int) -> tuple[Labels, Array]:
    """(labels, pixels) of the pictures that the server alone would paint: class-name prompts for its class list."""
    conditioning = plan.aggregate(session, [baselines.from_class_list(session)])
    shards = make_plan(conditioning, per_class, session.config.seed, session.config.synthesis.shard_size)
    drawn = list(fill.images(session, shards, conditioning, "paint"))
    return np.array([item.class_id for item, _ in drawn], dtype=np.int64), np.stack([pixels for _, pixels in drawn])


def added_up(clients: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over clients, each by the number of its images that were looked at; a score that a client does not have
    counts for nothing."""
    result: dict[str, Any] = {key: sum(one[key] for one in clients.values()) for key in ("reference", "compared")}
    for key in ("made", "real"):
        result[key] = {
            name: _mean([(one[key][name], one["reference"]) for one in clients.values()]) for name in replies.SCORES
        }
    result["recognized"] = _mean([(one["recognized"], one["reference"]) for one in clients.values()])
    classes = sorted({name for one in clients.values() for name in one["per_class"]})
    result["per_class"] = {
        class_name: {
            key: {
                name: _mean(
                    [
                        (one["per_class"][class_name][key][name], 1)
                        for one in clients.values()
                        if class_name in one["per_class"]
                    ]
                )
                for name in replies.SCORES
            }
            for key in ("made", "real")
        }
        for class_name in classes
    }
    return result


def _mean(pairs: list[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in pairs if value is not None]
    return (
        round(sum(value * weight for value, weight in known) / sum(weight for _, weight in known), 4) if known else None
    )
