"""Uploads → conditioning → the shards to fill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl.contracts.aggregator import ClientUpload, Conditioning
from fgl.contracts.generator import Shard
from fgl.core.server import claimed_weights
from fgl.core.server import uploads as server_uploads
from fgl.core.synthesis import plan
from fgl.core.synthesis.shards import read_plan, write_plan
from fgl.core.wire import identical_classes
from fgl.errors import ClassListError

if TYPE_CHECKING:
    from fgl.contracts.generator import PlanItem
    from fgl.core.session import Session


log = logging.getLogger(__name__)


@dataclass(slots=True)
class Plan:
    """The images that a run is to have. value: the stage's. digest: of its inputs."""

    shards: list[Shard]
    value: Mapping[str, Any]
    digest: str
    _aggregate: Callable[[], Conditioning]
    _conditioning: list[Conditioning] = field(default_factory=list)

    @property
    def items(self) -> list[PlanItem]:
        return [item for shard in self.shards for item in shard.items]

    @property
    def conditioning(self) -> Conditioning:
        """Made when it is first asked for: a run whose shards are all there does not read the uploads again."""
        if not self._conditioning:
            self._conditioning.append(self._aggregate())
        return self._conditioning[0]


def plan_inputs(session: Session, uploads: str) -> dict[str, Any]:
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


def make_plan(session: Session, uploads: Mapping[str, Any]) -> Plan:
    """Uploads → conditioning → shards to fill. uploads: what `collect` or `gather` returned."""
    path = session.run.plan_file

    def conditioning() -> Conditioning:
        return aggregate(session, server_uploads.opened(session, list(uploads["bytes_per_client"])))

    made = Plan([], {}, "", conditioning)

    def work(_: str) -> tuple[Any, list[Path]]:
        _check_alike(session, made.conditioning)
        shards = divide(session, made.conditioning)
        write_plan(session.run, path, shards)
        return {
            "rows": sum(uploads["prompts"].values()),
            "conditionings": len(made.conditioning),
            "images": sum(len(shard.items) for shard in shards),
            "shards": len(shards),
            "missing_classes": missing_classes(session, made.conditioning),
        }, [path]

    made.value, made.digest = session.stage("plan", plan_inputs(session, uploads["uploads"]), work)
    made.shards = read_plan(path)
    return made


def _check_alike(session: Session, conditioning: Conditioning) -> None:
    """Raises ClassListError where two classes are the same numbers. Clients that are elsewhere are told of instead: one
    of them is not to end everybody's run by sending another's rows under a class of its own choice."""
    pairs = identical_classes.of_conditioning(conditioning)
    if pairs and not session.remote_clients:
        raise ClassListError(identical_classes.told(pairs, session.info.class_names))
    if pairs:
        log.warning("%s", identical_classes.told(pairs, session.info.class_names))


def aggregate(session: Session, uploads: Sequence[ClientUpload]) -> Conditioning:
    aggregator = session.manager.create("aggregator", session.config.aggregator)
    uploads = claimed_weights.limited(uploads, session.config.upload.max_weight_ratio)
    conditioning: Conditioning = aggregator.aggregate(uploads, session.generator.fingerprint())
    return conditioning


def divide(session: Session, conditioning: Conditioning) -> list[Shard]:
    """Conditioning → shards to fill."""
    options = session.config.synthesis
    return plan.make_plan(conditioning, options.images_per_class, session.config.seed, options.shard_size)


def missing_classes(session: Session, conditioning: Conditioning) -> list[str]:
    """Classes that nobody uploaded a row for."""
    there = {int(class_id) for class_id in conditioning.class_id}
    return [name for index, name in enumerate(session.info.class_names) if index not in there]
