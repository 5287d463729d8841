"""Uploads → conditioning → the shards to fill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import Shard
from fgl.core.server import claimed_weights
from fgl.core.server import uploads as server_uploads
from fgl.core.stages import adaptation, clients, votes
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.synthesis import plan
from fgl.core.synthesis.per_client import GeneratorPerClient, client_of
from fgl.core.synthesis.shards import read_plan, write_plan
from fgl.core.wire import identical_classes
from fgl.errors import ClassListError

if TYPE_CHECKING:
    from fgl.contracts.generator import PlanItem
    from fgl.core.session import Session


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """How much there is to synthesize. The images themselves are listed in plan.parquet."""

    rows: int
    """Rows of all uploads."""
    conditionings: int
    """Distinct rows that images are made of."""
    images: int
    """Images that there will be."""
    shards: int
    """Files that they will be in."""
    missing_classes: list[str]
    """Classes that nobody uploaded a row for."""


class Plan:
    """The images that a run is to have, and what they are made of; each is read or made when it is first asked for:
    a run whose shards are all there does not read the uploads again."""

    def __init__(self, shards: Callable[[], list[Shard]], conditioning: Callable[[], Conditioning]) -> None:
        self._read, self._aggregate = shards, conditioning

    @classmethod
    def of(cls, session: Session, conditioning: Conditioning) -> Plan:
        """As the configuration divides it, with nothing kept on disk."""
        return cls(lambda: divide(session, conditioning), lambda: conditioning)

    @cached_property
    def shards(self) -> list[Shard]:
        return self._read()

    @cached_property
    def conditioning(self) -> Conditioning:
        return self._aggregate()

    @property
    def items(self) -> list[PlanItem]:
        return [item for shard in self.shards for item in shard.items]


def plan_inputs(session: Session, uploads: str) -> Inputs:
    """uploads: digest of who sent what."""
    config = session.config
    return {
        "uploads": uploads,
        "aggregator": config.aggregator.model_dump(),
        "seed": config.seed,
        "generator": session.generator.fingerprint(),
        "images_per_class": config.synthesis.images_per_class,
        "shard_size": config.synthesis.shard_size,
        "max_weight_ratio": config.upload.max_weight_ratio,
    }


def planned(session: Session, done: Done) -> Plan:
    """The plan of a run whose uploads are there; its shards once the stage is done."""
    return done.once(_planned, session)


def _planned(session: Session, done: Done) -> Plan:
    sent = done[clients.STAGE]
    adapted = adaptation.adapted(session, done)

    def uploads() -> Sequence[ClientUpload]:
        return (
            server_uploads.opened(session, list(sent.bytes_per_client))
            if sent.votes is None
            else votes.own(session, sent)
        )

    return Plan(
        shards=lambda: read_plan(session.run.plan_file),
        conditioning=lambda: aggregate(adapted, uploads(), of_clients=sent.votes is None),
    )


def _work(session: Session, done: Done, digest: str) -> Work[PlanResult]:
    """Uploads → conditioning → shards to fill."""
    conditioning = planned(session, done).conditioning
    _check_alike(session, conditioning)
    shards = divide(adaptation.adapted(session, done), conditioning)
    write_plan(session.run, session.run.plan_file, shards)
    result = PlanResult(
        rows=sum(done[clients.STAGE].prompts.values()),
        conditionings=len(conditioning),
        images=sum(len(shard.items) for shard in shards),
        shards=len(shards),
        missing_classes=missing_classes(session, conditioning),
    )
    return result, [session.run.plan_file]


STAGE = Stage(
    name="plan",
    needs=("clients", "adaptation"),
    result=PlanResult,
    inputs=lambda session, done: plan_inputs(adaptation.adapted(session, done), done.made(clients.STAGE)),
    work=_work,
    outputs=("server/plan.parquet",),
)


def _check_alike(session: Session, conditioning: Conditioning) -> None:
    """Raises ClassListError where two classes are the same numbers. Clients that are elsewhere are told of instead: one
    of them is not to end everybody's run by sending another's rows under a class of its own choice."""
    pairs = identical_classes.of_conditioning(conditioning)
    if pairs and not session.remote_clients:
        raise ClassListError(identical_classes.told(pairs, session.info.class_names))
    if pairs:
        log.warning("%s", identical_classes.told(pairs, session.info.class_names))


def aggregate(session: Session, uploads: Sequence[ClientUpload], of_clients: bool = True) -> Conditioning:
    """of_clients: whether their weights are what clients claim, and not the server's own."""
    aggregator = session.manager.create("aggregator", session.config.aggregator)
    if of_clients:
        uploads = claimed_weights.limited(uploads, session.config.upload.max_weight_ratio)
    if isinstance(session.generator, GeneratorPerClient):
        return session.generator.aggregate(uploads, aggregator.aggregate)
    conditioning: Conditioning = aggregator.aggregate(uploads, session.generator.fingerprint())
    return conditioning


def divide(session: Session, conditioning: Conditioning) -> list[Shard]:
    """Conditioning → shards to fill."""
    options = session.config.synthesis
    if not session.product.synthesized:
        return plan.list_rows(conditioning, session.config.seed, options.shard_size)
    # a client's images beside each other: its generator is then loaded once
    per_client = isinstance(session.generator, GeneratorPerClient)
    group = partial(client_of, conditioning) if per_client else None
    return plan.make_plan(conditioning, options.images_per_class, session.config.seed, options.shard_size, group)


def missing_classes(session: Session, conditioning: Conditioning) -> list[str]:
    """Classes that nobody uploaded a row for."""
    there = {int(class_id) for class_id in conditioning.class_id}
    return [name for index, name in enumerate(session.info.class_names) if index not in there]
