"""Does the generator know this domain? A few pictures of each class, judged by clients beside a few of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.progress import Announcing
from fgl.core.client import site
from fgl.core.config import fit
from fgl.core.partitioning import divide
from fgl.core.report.figures import Space
from fgl.core.report.intervals import Share, wilson
from fgl.core.report.probe import Pictures, ProbeFigures
from fgl.core.report.scores import BytesBothWays
from fgl.core.server import uploads
from fgl.core.server.refusals import Refusal
from fgl.core.stages import baselines, features, plan, train
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


def probe(
    session: Session, per_class: int, learn_images: int = LEARN_IMAGES, pool_clients: bool = False
) -> ProbeFigures:
    """Paint `per_class` pictures of each class from class-name prompts, send their features to every client, and gather
    the scores that come back. Nothing is written.

    A feature space that learns is trained on the public split; where there is none, on as many pictures again, or with
    `pool_clients` on half of the clients' images, which only a simulation has in one place. learn_images: most real
    images that it is trained on. Raises FGLError; a client that fails is named and left out."""
    if per_class < 1:
        raise ConfigError([Problem("--per-class", str(per_class), "expected 1 or more")], "the command line")
    if not session.yields_images:
        kind = f"a generator of images; {session.config.generator.name!r} yields {session.product.kind}"
        raise ConfigError([Problem("generator", repr(session.config.generator.name), f"expected {kind}")])
    fit.check_unpriced(session.config, session.manager.registry, "a probe")
    start = time.monotonic()
    config, names = session.config, session.info.class_names
    divided = divide(session.manager, config, session.split("train"))
    clients = [name for name, rows in divided.items() if rows]
    made = made_here(session, per_class, learn_images, pool_clients)
    learnt = made.learnt
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
            made.arrays,
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
    spent = (BytesBothWays(down=down, up=up), time.monotonic() - start)
    return figures(session, made, per_class, answers, refused, spent)


def figures(
    session: Session,
    made: Made,
    per_class: int,
    answers: dict[str, ProbeScores],
    refused: dict[str, Refusal],
    spent: tuple[BytesBothWays, float],
) -> ProbeFigures:
    """What the answers come to. spent: bytes and seconds. Raises DataError where there are none."""
    if not answers:
        reasons = "; ".join(f"{name}: {one.reason}" for name, one in list(refused.items())[:3])
        raise DataError(f"no client could judge the pictures: {reasons or 'none answered'}")
    names, whole = session.info.class_names, mean_scores(answers)
    generator = strict_json.finite(session.generator.describe())
    return ProbeFigures(
        space=made.space,
        generator={key: generator.get(key) for key in ("model", "revision", "commit", "image_size")},
        pictures=Pictures(per_class=per_class, classes=len(names), images=len(made.arrays["labels"])),
        clients=answers,
        all_clients=whole,
        recognized=recognized(whole),
        refused=refused,
        chance=round(1 / len(names), 6),
        min_images=session.config.evaluation.min_images,
        bytes=spent[0],
        seconds=round(spent[1], 1),
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What a probe shows to clients."""

    arrays: Mapping[str, Array]
    """`features` float32 [n, d] and `labels` int64 [n] of the pictures; `state/…`: the space's own, where it learnt."""
    space: Space
    """Whose features these are."""
    learnt: features.FeatureTrainingSplit | None
    """The real images that the space learnt on; None where it learnt on none."""


def made_here(session: Session, per_class: int, learn_images: int, pool_clients: bool) -> Made:
    """Pictures and the feature space that they are compared in. Arguments as `probe`."""
    space = session.manager.create("features", session.config.features)
    learnt: features.FeatureTrainingSplit | None = None
    state: dict[str, Array] = {}
    told: dict[str, str] = {}
    on_pictures = space.learns() and session.dataset.split("public") is None and not pool_clients
    labels, pixels = pictures(session, per_class * (2 if on_pictures else 1))
    if on_pictures:
        rows, others = _apart(labels)
        trained = LabelledPixels(pixels[rows], labels[rows])
        state = dict(space.learn(trained, session.classifier, train.context(session, "train the feature space")))
        labels, pixels = labels[others], pixels[others]
        told = {"learnt_on": f"{len(rows):,} other pictures of the generator, and no real image"}
        told["classifier"] = session.config.classifier.name
    elif space.learns():
        learnt = features.learning(session, "train")
        learnt = learnt.bounded(session.split(learnt.split).labels, learn_images, session.config.seed)
        _say(session, f"the feature space {session.config.features.name!r} is trained on {learnt.said}")
        state = features.learn(session, space, learnt)
    extractor = features.extractor_of(session, space, state)
    arrays = {
        **{f"state/{name}": array for name, array in state.items()},
        "features": extractor.features(pixels, session.progress),
        "labels": labels,
    }
    return Made(arrays, from_json(Space, {**features.described(session, extractor, learnt), **told}), learnt)


def _apart(labels: Labels) -> tuple[Labels, Labels]:
    """Positions of the first half of each class's pictures, and of the second."""
    halves = [np.array_split(np.flatnonzero(labels == label), 2) for label in np.unique(labels)]
    return np.concatenate([half[0] for half in halves]), np.concatenate([half[1] for half in halves])


def recognized(scores: ProbeScores) -> Share | None:
    """The share of the clients' images that the pictures tell apart, with its interval; None where there is none."""
    share = scores.recognized
    return None if share is None else wilson(round(share * scores.reference), scores.reference)


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
