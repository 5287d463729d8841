"""How baselines are made: each row is a number from the same test images in the same run. See `fgl.core.baselines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.prompts import ClientContext, Encoded
from fgl.core.baselines import BASELINES, find
from fgl.core.config.defaults import CLASS_LIST_PROMPTS
from fgl.core.config.schema import RoundsOptions
from fgl.core.report import metrics
from fgl.core.server import own_upload
from fgl.core.stages import clients, evaluate, partition, plan, rounds, rounds_spec, synthesize
from fgl.core.stages import train as train_stage
from fgl.core.stages.partition import divided
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.core.session import LabelledSet, Session
    from fgl.core.stages.stage import Done, Inputs


Row = dict[str, Any]
"""One baseline in the report, see `fgl.core.report.scores.BaselineResult`."""


def centralized_inputs(session: Session, done: Done) -> Inputs:
    split_inputs: dict[str, object] = {"split": "train"}
    out = session.removed_clients
    # where clients hold all of the split, as they mostly do, it does not matter who holds what
    if out or _in_part(session):
        split_inputs |= {"partition": rounds.partition_digest(session, done), "forgotten": out}
    return {**_shared(session), **split_inputs}


def centralized(session: Session, done: Done) -> dict[str, Row]:
    """The same classifier, trained on the images of all clients."""
    inputs = centralized_inputs(session, done)
    return _real(session, "centralized", "train", inputs, lambda: clients_images(session, divided(session, done)))


def public_inputs(session: Session, done: Done) -> Inputs:
    return {**_shared(session), "split": "public"}


def public(session: Session, done: Done) -> dict[str, Row]:
    """The same classifier, trained on the public split."""
    return _real(session, "public", "public", public_inputs(session, done), lambda: session.inputs("public"))


def _shared(session: Session) -> dict[str, object]:
    """What determines each baseline that trains the run's classifier."""
    config = session.config
    return {
        "dataset": session.info.digest,
        "classifier": config.classifier.model_dump(),
        "seed": config.seed,
        "preparation": session.real_inputs,
        "device": session.device_kind,
        **session.weights("classifier"),
    }


def _real(session: Session, name: str, split: str, inputs: Inputs, images: Callable[[], LabelledSet]) -> dict[str, Row]:
    """Train the same classifier on real images. images: reads them."""

    def work(digest: str) -> tuple[Any, list[Path]]:
        data = images()
        kept = session.run.checkpoints(BASELINES[name].stage, digest)
        model = session.classifier.fit(data, None, train_stage.context(session, f"train on {name} data", kept))
        score = evaluate.score(session, model, "last")
        return entry(name, score, images=len(data), note=f"{len(data):,} real images: the {split} split"), []

    return _stage(session, name, inputs, work)


def clients_images(session: Session, held: Mapping[str, Sequence[int]]) -> LabelledSet:
    """The training images that clients hold, in the order of the split. held: client → its samples."""
    data = session.inputs("train")
    rows = sorted(row for samples in held.values() for row in samples)
    return data if len(rows) == len(data) else session.labelled(data.values[rows], data.labels[rows])


def _in_part(session: Session) -> bool:
    """Whether there may be training samples that no client holds."""
    return len(partition.held(session)) < len(session.split("train"))


def one_round_inputs(session: Session, done: Done) -> Inputs:
    return rounds.inputs_of(
        session, one_round_spec(session), rounds.partition_digest(session, done), rounds_spec.Start()
    )


def one_round(session: Session, done: Done) -> dict[str, Row]:
    """One round of FedAvg from the same split. Its local models, before they are averaged, are the local-only baseline:
    each is tested by itself."""
    spec, held = one_round_spec(session), divided(session, done)
    result = rounds.run(session, spec, held, rounds.partition_digest(session, done), rounds_spec.Start())
    images = sum(len(rows) for rows in held.values())
    alone = result.rounds[0]["local"]
    epochs = f"{spec.epochs} local epoch{'s' * (spec.epochs != 1)}"
    note = f"{epochs}, model both ways"
    fedavg = entry("fedavg", result.score, result.bytes_up + result.bytes_down, images, note)
    note = f"the same models, {epochs}, before averaging"
    local = entry("local", metrics.mean_of(list(alone.values())), images=images, note=note)
    local["per_client"] = {client: score["top1"] for client, score in alone.items()}
    rows = {"fedavg": fedavg, "local": local}
    for name, row in rows.items():
        row["seconds"] = session.seconds[spec.stage]
        session.run.write_json(session.run.path("baselines", f"{name}.json"), row)
    return rows


def one_round_spec(session: Session) -> rounds_spec.RoundsSpec:
    """FedAvg over one round, all clients present."""
    options = session.config.rounds
    once = RoundsOptions(
        count=1, local_epochs=options.local_epochs, local=dict(options.local), max_update_ratio=options.max_update_ratio
    )
    algorithm = rounds_spec.baseline(session, "fedavg")
    stage = BASELINES["fedavg"].stage
    return rounds_spec.RoundsSpec("fedavg-1", stage, algorithm, once, options.local_epochs, test_clients=True)


def class_list_inputs(session: Session, done: Done) -> Inputs:
    config = session.config
    options = config.prompt_strategy.options if config.prompt_strategy.name == CLASS_LIST_PROMPTS else {}
    return {
        **_shared(session),
        "main": done.made(train_stage.STAGE),
        "prompts": dict(options),
        **clients.prompt_names(session),
        "aggregator": config.aggregator.model_dump(),
        "codec": config.upload.codec,
        "encoding": dict(session.generator.encoding()),
        "images_per_class": config.synthesis.images_per_class,
        "shard_size": config.synthesis.shard_size,
        "validation_fraction": config.synthesis.validation_fraction,
        "validation_per_class": config.synthesis.validation_per_class,
        **synthesize.recipe(session),
    }


def class_list(session: Session, done: Done) -> dict[str, Row]:
    """What the server could have done alone: class-name prompts for the whole class list, no client asked.

    Where that asks for the very same images, the result is the run's own by construction, and nothing is done twice."""
    run_items, main = plan.planned(session, done).items, done[evaluate.STAGE]

    def work(stage_digest: str) -> tuple[Any, list[Path]]:
        conditioning = plan.aggregate(session, [from_class_list(session)])
        planned = plan.Plan.of(session, conditioning)
        items = planned.items
        same = {(item.image_id, item.class_id) for item in items} == {
            (item.image_id, item.class_id) for item in run_items
        }
        if same:
            note = "the same set of images as this run's, by construction: reused"
            return {**entry("class-list", main.selected, note=note), "last": main.last["top1"]}, []
        folder = session.run.path("baselines", "class-list", "shards")
        synthesize.fill(session, folder, planned, "synthesize (class list)")
        train, validation = synthesize.load_set(session, folder, planned.shards)
        kept = session.run.checkpoints(BASELINES["class-list"].stage, stage_digest)
        model = session.classifier.fit(train, validation, train_stage.context(session, "train (class list)", kept))
        row = entry("class-list", evaluate.score(session, model, "selected"), images=len(items))
        row["last"] = evaluate.score(session, model, "last")["top1"]
        return row, synthesize.shard_files(folder, planned)

    return _stage(session, "class-list", class_list_inputs(session, done), work)


def from_class_list(session: Session) -> Any:
    """An upload that the server writes for itself, through the same codec as a client's."""
    config = session.config
    options = config.prompt_strategy.options if config.prompt_strategy.name == CLASS_LIST_PROMPTS else {}
    strategy = session.manager.registry.create("prompt_strategy", CLASS_LIST_PROMPTS, dict(options))
    encoder = session.generator.encoder(session.device)
    context = ClientContext(
        own_upload.SERVER,
        _ClassList(len(session.info.class_names)),
        session.info.names_in_prompts,
        lambda prompts: Encoded(*encoder.encode(prompts)),
        seed=config.seed,
        label_names=session.info.class_names,
    )
    return own_upload.of_prompts(session, strategy.prompts(context), encoder)


class _ClassList:
    """One label of each class and no image: all that the server knows."""

    def __init__(self, classes: int) -> None:
        self.labels: Labels = np.arange(classes, dtype=np.int64)
        self.domains = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Any:
        raise LookupError("the class list has no images")

    def name(self, index: int) -> str:
        return f"class {index}"


def entry(name: str, score: Mapping[str, object], bytes_: int = 0, images: int | None = None, note: str = "") -> Row:
    """One baseline in the result. top1 and last: fractions of the test set; bytes: sent by and to all clients."""
    return {
        "name": name,
        "title": find(name).title,
        "top1": score["top1"],
        "last": score["top1"],
        "bytes": bytes_,
        "balanced_accuracy": score["balanced_accuracy"],
        "macro_f1": score["macro_f1"],
        "images": images,
        "per_class": score["per_class"],
        "note": note,
    }


def _stage(
    session: Session, name: str, inputs: Inputs, work: Callable[[str], tuple[Any, list[Path]]]
) -> dict[str, Row]:
    stage = BASELINES[name].stage
    value, _ = session.stage(stage, inputs, work)
    session.run.write_json(session.run.path("baselines", f"{name}.json"), value)
    row: Row = strict_json.loads(strict_json.dumps(value))
    row["seconds"] = session.seconds[stage]
    return {name: row}
