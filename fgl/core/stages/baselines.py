"""What the result has to be read beside: each baseline is a number from the same test images in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.prompts import ClientContext
from fgl.core.config.defaults import CLASS_LIST_PROMPTS
from fgl.core.config.schema import PROMPTS_BASELINE, RoundsOptions
from fgl.core.report import metrics
from fgl.core.server import encoding
from fgl.core.stages import evaluate, partition, plan, rounds, rounds_spec, synthesize
from fgl.core.stages import train as train_stage
from fgl.core.wire import requests, upload, upload_reader
from fgl.core.wire.codecs import TEXT
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels
    from fgl.contracts.generator import PlanItem
    from fgl.core.session import Session
    from fgl.core.stages.evaluate import EvaluateResult
    from fgl.core.stages.stage import Inputs


TITLES = {
    "class-list": "server knows only the class list",
    "fedavg": "FedAvg, one round",
    "local": "local only (mean over clients)",
    "public": "real images that trained the generator (a sample)",
    "centralized": "pooled real data of all clients (ceiling)",
}


def title(name: str) -> str:
    return TITLES.get(name, f"fgl one-shot, {name.removeprefix(PROMPTS_BASELINE)} prompts")


SPLITS = {"centralized": "train", "public": "public"}


def inputs_of(session: Session, name: str, partition_digest: str, train_digest: str) -> Inputs:
    """What determines a baseline, beside what all of them share."""
    config = session.config
    out = session.removed_clients
    if name in SPLITS:
        own: dict[str, Any] = {"split": SPLITS[name]}
        # where clients hold all of the split, as they mostly do, it does not matter who holds what
        if name == "centralized" and (out or _in_part(session)):
            own |= {"partition": partition_digest, "forgotten": out}
    elif name == "class-list":
        options = config.prompt_strategy.options if config.prompt_strategy.name == CLASS_LIST_PROMPTS else {}
        own = {
            "main": train_digest,
            "prompts": dict(options),
            "aggregator": config.aggregator.model_dump(),
            "codec": config.upload.codec,
            "encoding": dict(session.generator.encoding()),
            "images_per_class": config.synthesis.images_per_class,
            "shard_size": config.synthesis.shard_size,
            "validation_fraction": config.synthesis.validation_fraction,
            "validation_per_class": config.synthesis.validation_per_class,
            **synthesize.recipe(session),
        }
    else:
        return rounds.inputs_of(session, one_round(session), partition_digest, "")
    return {
        "dataset": session.info.digest,
        "classifier": config.classifier.model_dump(),
        "seed": config.seed,
        "preparation": session.preparation.inputs(),
        "device": session.device_kind,
        **session.weights("classifier"),
        **own,
    }


def stage_of(name: str) -> str:
    """The stage that yields a baseline; one yields two."""
    return f"baseline:{'fedavg' if name == 'local' else name}"


def real(session: Session, name: str, divided: Mapping[str, list[int]], partition_digest: str) -> dict[str, Any]:
    """Train the same classifier on real images: `centralized` on those of the clients, `public` on the public ones."""
    split = SPLITS[name]

    def work(digest: str) -> tuple[Any, list[Path]]:
        data = session.inputs(split)
        if name == "centralized":
            data = pooled(session, divided)
        kept = session.run.checkpoints(stage_of(name), digest)
        model = session.classifier.fit(data, None, train_stage.context(session, f"train on {name} data", kept))
        score = evaluate.score(session, model, "last")
        return entry(name, score, images=len(data), note=f"{len(data):,} real images: the {split} split"), []

    return _stage(session, name, inputs_of(session, name, partition_digest, ""), work)


def pooled(session: Session, divided: Mapping[str, Sequence[int]]) -> LabelledPixels:
    """The training images that clients hold, in the order of the split. divided: client → its samples."""
    data = session.inputs("train")
    rows = sorted(row for held in divided.values() for row in held)
    return data if len(rows) == len(data) else LabelledPixels(data.pixels[rows], data.labels[rows])


def _in_part(session: Session) -> bool:
    """Whether there may be training samples that no client holds."""
    return len(partition.held(session)) < len(session.split("train"))


def federated(
    session: Session, divided: Mapping[str, list[int]], partition_digest: str, names: list[str]
) -> list[dict[str, Any]]:
    """One round of FedAvg from the same split. Its local models, before they are averaged, are the local-only baseline:
    each is tested by itself."""
    track = one_round(session)
    result = rounds.run(session, track, divided, partition_digest, rounds_spec.Start())
    images = sum(len(rows) for rows in divided.values())
    alone = result.rounds[0]["local"]
    epochs = f"{track.epochs} local epoch{'s' * (track.epochs != 1)}"
    note = f"{epochs}, model both ways"
    fedavg = entry("fedavg", result.score, result.bytes_up + result.bytes_down, images, note)
    note = f"the same models, {epochs}, before averaging"
    local = entry("local", metrics.mean_of(list(alone.values())), images=images, note=note)
    local["per_client"] = {client: one["top1"] for client, one in alone.items()}
    found = {"fedavg": fedavg, "local": local}
    for name, one in found.items():
        one["seconds"] = session.seconds[track.stage]
        session.run.write_json(session.run.path("baselines", f"{name}.json"), one)
    return [found[name] for name in ("fedavg", "local") if name in names]


def one_round(session: Session) -> rounds_spec.RoundsSpec:
    """FedAvg over one round, all clients present."""
    options = session.config.rounds
    once = RoundsOptions(
        count=1, local_epochs=options.local_epochs, local=dict(options.local), max_update_ratio=options.max_update_ratio
    )
    algorithm = rounds_spec.baseline(session, "fedavg")
    return rounds_spec.RoundsSpec(
        "fedavg-1", stage_of("fedavg"), algorithm, once, options.local_epochs, test_clients=True
    )


def class_list(session: Session, own: list[PlanItem], main: EvaluateResult, train_digest: str) -> dict[str, Any]:
    """What the server could have done alone: class-name prompts for the whole class list, no client asked.

    Where that asks for the very same images, the result is the run's own by construction, and nothing is done twice."""

    def work(stage_digest: str) -> tuple[Any, list[Path]]:
        conditioning = plan.aggregate(session, [from_class_list(session)])
        planned = plan.Plan.of(session, conditioning)
        items = planned.items
        same = {(item.image_id, item.class_id) for item in items} == {(item.image_id, item.class_id) for item in own}
        if same:
            note = "the same set of images as this run's, by construction: reused"
            return {**entry("class-list", main.selected, note=note), "last": main.last["top1"]}, []
        folder = session.run.path("baselines", "class-list", "shards")
        synthesize.fill(session, folder, planned, "synthesize (class list)")
        train, validation = synthesize.load_set(session, folder, planned.shards)
        kept = session.run.checkpoints(stage_of("class-list"), stage_digest)
        model = session.classifier.fit(train, validation, train_stage.context(session, "train (class list)", kept))
        found = entry("class-list", evaluate.score(session, model, "selected"), images=len(items))
        return {**found, "last": evaluate.score(session, model, "last")["top1"]}, synthesize.shard_files(
            folder, planned
        )

    return _stage(session, "class-list", inputs_of(session, "class-list", "", train_digest), work)


def from_class_list(session: Session) -> Any:
    """An upload that the server writes for itself, through the same codec as a client's."""
    config = session.config
    options = config.prompt_strategy.options if config.prompt_strategy.name == CLASS_LIST_PROMPTS else {}
    strategy = session.manager.registry.create("prompt_strategy", CLASS_LIST_PROMPTS, dict(options))
    encoder = session.generator.encoder(session.device)
    context = ClientContext(
        "server",
        _ClassList(len(session.info.class_names)),
        session.info.class_names,
        lambda prompts: encoder.encode(prompts)[0],
        seed=config.seed,
    )
    prompts = strategy.prompts(context)
    arrays, indices = encoder.encode(prompts)
    declaration = session.generator.declare()
    sender = upload.UploadHeader("server", requests.ROUND, session.info.class_names, config.upload.run_id)
    # texts become what fp32 holds
    codec = "fp32" if config.upload.codec == TEXT else config.upload.codec
    data = upload.encode(sender, declaration, codec, prompts, arrays, indices)
    # the caps are for what comes from outside
    return upload_reader.decode(
        data, replace(encoding.expectation(session, ["server"]), max_rows=2**40, max_bytes=2**60)
    )


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


def entry(
    name: str, score: Mapping[str, Any], bytes_: int = 0, images: int | None = None, note: str = ""
) -> dict[str, Any]:
    """One baseline in the result. top1 and last: fractions of the test set; bytes: sent by and to all clients."""
    return {
        "name": name,
        "title": title(name),
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
    session: Session, name: str, inputs: Mapping[str, Any], work: Callable[[str], tuple[Any, list[Path]]]
) -> dict[str, Any]:
    value, _ = session.stage(stage_of(name), inputs, work)
    path = session.run.path("baselines", f"{name}.json")
    session.run.write_json(path, value)
    found: dict[str, Any] = strict_json.loads(strict_json.dumps(value))
    found["seconds"] = session.seconds[stage_of(name)]
    return found
