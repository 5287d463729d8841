"""Does the generator know this domain? A few pictures of each class, judged by clients beside a few of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.progress import Announcing
from fgl.core.client import site
from fgl.core.partitioning import divide
from fgl.core.report.figures import Space
from fgl.core.report.probe import Pictures, ProbeFigures
from fgl.core.report.scores import BytesBothWays
from fgl.core.server import uploads
from fgl.core.server.refusals import Refusal
from fgl.core.stages import baselines, features, plan
from fgl.core.store.typed import from_json
from fgl.core.synthesis import fill
from fgl.core.synthesis.plan import make_plan
from fgl.core.wire import replies, requests
from fgl.core.wire.replies import BothScores, ImageScores, ProbeScores
from fgl.errors import ConfigError, DataError, Problem, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array, Labels
    from fgl.core.session import Session


LEARN_IMAGES = 1000


def probe(session: Session, per_class: int, learn_images: int = LEARN_IMAGES) -> ProbeFigures:
    """Paint `per_class` pictures of each class from class-name prompts, send their features to every client, and gather
    the scores that come back. Nothing is written. learn_images: most real images that a space which learns is trained
    on. Raises FGLError; a client that fails is named and left out."""
    if per_class < 1:
        raise ConfigError([Problem("--per-class", str(per_class), "expected 1 or more")], "the command line")
    if not session.yields_images:
        kind = f"a generator of images; {session.config.generator.name!r} yields {session.product.kind}"
        raise ConfigError([Problem("generator", repr(session.config.generator.name), f"expected {kind}")])
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
    down, up = 0, 0
    answers: dict[str, ProbeScores] = {}
    refused: dict[str, Refusal] = {}

    def payload(client_id: str) -> bytes:
        nonlocal down
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
        down += len(data)
        return data

    federation = session.manager.create("federation", config.federation)
    for client_id, reply in federation.call(clients, requests.PROBE, payload, session.progress):
        try:
            data = uploads.reply_of(reply)
            up += len(data)
            answers[client_id] = replies.validate_scores(data, client_id, names, per_class)
        except UploadError as error:
            refused[client_id] = Refusal(rule=error.rule, reason=str(error))
    site.release()
    if not answers:
        reasons = "; ".join(f"{name}: {one.reason}" for name, one in list(refused.items())[:3])
        raise DataError(f"no client could judge the pictures: {reasons}")
    generator = strict_json.finite(session.generator.describe())
    return ProbeFigures(
        space=from_json(Space, features.described(session, extractor, learnt)),
        generator={key: generator.get(key) for key in ("model", "revision", "commit", "image_size")},
        pictures=Pictures(per_class=per_class, classes=len(names), images=len(labels)),
        clients=answers,
        all_clients=mean_scores(answers),
        refused=refused,
        chance=round(1 / len(names), 6),
        min_images=config.evaluation.min_images,
        bytes=BytesBothWays(down=down, up=up),
        seconds=round(time.monotonic() - start, 1),
    )


def _say(session: Session, text: str) -> None:
    if isinstance(session.progress, Announcing):
        session.progress.heading(text)


def pictures(session: Session, per_class: int) -> tuple[Labels, Array]:
    """(labels, pixels) of the pictures that the server alone would paint: class-name prompts for its class list."""
    conditioning = plan.aggregate(session, [baselines.from_class_list(session)])
    shards = make_plan(conditioning, per_class, session.config.seed, session.config.synthesis.shard_size)
    drawn = list(fill.images(session, shards, conditioning, "paint"))
    return np.array([item.class_id for item, _ in drawn], dtype=np.int64), np.stack([pixels for _, pixels in drawn])


def mean_scores(clients: Mapping[str, ProbeScores]) -> ProbeScores:
    """Means over clients, each by the number of its images that were looked at; a score that a client does not have
    counts for nothing."""
    each = list(clients.values())
    weights = [one.reference for one in each]
    by_class: dict[str, list[BothScores]] = {}
    for one in each:
        for name, scores in one.per_class.items():
            by_class.setdefault(name, []).append(scores)
    return ProbeScores(
        reference=sum(weights),
        compared=sum(one.compared for one in each),
        made=_mean_images([one.made for one in each], weights),
        real=_mean_images([one.real for one in each], weights),
        recognized=_mean([one.recognized for one in each], weights),
        per_class={name: _mean_both(by_class[name]) for name in sorted(by_class)},
    )


def _mean_both(each: Sequence[BothScores]) -> BothScores:
    once = [1] * len(each)
    return BothScores(
        made=_mean_images([one.made for one in each], once), real=_mean_images([one.real for one in each], once)
    )


def _mean_images(each: Sequence[ImageScores], weights: Sequence[int]) -> ImageScores:
    return ImageScores(**{name: _mean([one.of(name) for one in each], weights) for name in replies.SCORES})


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    return round(sum(value * weight for value, weight in known) / sum(weight for _, weight in known), 4)
