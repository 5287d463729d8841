"""The server's side up to the synthetic set: uploads, plan, synthesis."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import (
    alike,
    claimed_weights,
    client,
    contents,
    dividing,
    foundation,
    intake,
    keeping,
    plan,
    refusals,
    synthesis,
    tally,
    upload,
)
from fgl.core.errors import ClassListError, DataError, StoreError, UploadError
from fgl.core.shards import ShardStore, read_plan, read_shards, write_plan
from fgl.core.store import digest_of, file_digest
from fgl.core.types import ClientUpload, Conditioning, LabelledPixels, Shard

if TYPE_CHECKING:
    from fgl.core.session import Session
    from fgl.core.types import Labels, Pixels, PlanItem

log = logging.getLogger(__name__)

Set = tuple[LabelledPixels, LabelledPixels | None]
"""A synthetic set: its training part, and its validation part where there is one."""


def partition_inputs(session: Session) -> dict[str, Any]:
    config = session.config
    files = session.manager.options("partition", config.partition).files()
    return {
        "dataset": session.info.digest, "partition": config.partition.model_dump(), "seed": config.seed,
        **({"files": {name: _digest(name) for name in files}} if files else {}),
    }  # fmt: skip


def partition(session: Session) -> tuple[dict[str, list[int]], str]:
    """Divide the training samples. Simulation only: a real deployment's clients hold what they hold."""

    def work(_: str) -> tuple[Any, list[Path]]:
        train = session.split("train")
        divided = dividing.divide(session.manager, session.config, train)
        if not divided:
            raise DataError("the partition has no clients")
        path = session.run.path("partition.json")
        session.run.write_json(path, divided)
        counts = {
            name: np.bincount(train.labels[rows], minlength=len(session.info.class_names)).tolist()
            for name, rows in divided.items()
        }
        return {"clients": len(divided), "samples": counts}, [path]

    _, digest = session.stage("partition", partition_inputs(session), work)
    divided = session.run.read_json(session.run.path("partition.json"))
    return divided, digest


def held(session: Session) -> Labels:
    """Positions of the training samples that clients hold, in order; nobody's are left out, and so are those of clients
    that were taken out. Where clients have data of their own, all that is here."""
    train, out = session.split("train"), intake.forgotten(session.run)
    if session.config.upload.clients is not None:
        return np.arange(len(train))
    if session.run.committed("partition", partition_inputs(session)) is not None:
        divided = session.run.read_json(session.run.path("partition.json"))
    else:
        divided = dividing.divide(session.manager, session.config, train)
    return np.array(sorted(row for name, rows in divided.items() if name not in out for row in rows), dtype=np.int64)


def request_inputs(session: Session, partition_digest: str) -> dict[str, Any]:
    """What determines the upload of each client."""
    config = session.config
    files = session.manager.options("prompt_strategy", config.prompt_strategy).files()
    return {
        "partition": partition_digest, "prompt_strategy": config.prompt_strategy.model_dump(),
        **({"prompt_files": {name: _digest(name) for name in files}} if files else {}),
        **({"prompt_models": models} if (models := _prompt_models(session)) else {}),
        "generator": dict(session.generator.encoding()), "codec": config.upload.codec, "format": upload.VERSION,
        "run_id": config.upload.run_id, "seed": config.seed, "round": client.ROUND,
        "device": session.device.split(":")[0],
    }  # fmt: skip


def _prompt_models(session: Session) -> dict[str, str | None]:
    """The commit at which clients here would use each Hub model that writes prompts."""
    from fgl import hub

    uses = session.manager.options("prompt_strategy", session.config.prompt_strategy).models()
    return {use.model: hub.commit(use) for use in uses if not hub.is_local(use.model)}


def _digest(name: str) -> str:
    """Of a file that a client is to read, or of what all files of a folder hold. One that is not there is the client's
    to complain of."""
    home = Path(name).expanduser()
    if home.is_dir():
        return contents.contents(home, ("*",))
    try:
        return file_digest(home)
    except StoreError:
        return ""


def clients_inputs(session: Session, partition_digest: str) -> dict[str, Any]:
    inputs = {**request_inputs(session, partition_digest), "upload": session.config.upload.model_dump()}
    out = intake.forgotten(session.run)
    return {**inputs, "forgotten": out} if out else inputs


def collect(session: Session, clients: Sequence[str], partition_digest: str) -> dict[str, Any]:
    """Ask every client for its upload and validate what comes back. Refused uploads are listed; the others go on.

    An upload that an earlier, interrupted run has kept is not asked for again."""

    _ask_again(session, clients)

    def work(_: str) -> tuple[Any, list[Path]]:
        federation = session.manager.create("federation", session.config.federation)
        expected, encoding = intake.expectation(session, clients), intake.Encoding(session)
        asked = [name for name in clients if name not in intake.forgotten(session.run)]
        _drop_others(session, asked)
        request = digest_of(request_inputs(session, partition_digest))
        answered = {name: found for name in asked if (found := _answered(session, name, request)) is not None}
        manifests, refused = intake.judged(session, answered, expected, encoding)

        def payload(client_id: str) -> bytes:
            private = intake.private_folder(session.run, client_id)
            return client.request(session.config, client_id, client.ROUND, private, session.device, session.info.digest)

        left = [name for name in asked if name not in answered]
        if left:
            foundation.check_content(session)
        for client_id, reply in federation.call(left, client.PREPARE, payload, session.progress):
            try:
                intake.accept(session, intake.failed(reply), expected, client_id, request, encoding)
                manifests[client_id] = _manifest(session, client_id)
            except UploadError as error:
                refused[client_id] = refusals.refuse(session, client_id, error)
        client.release()
        for client_id in refused:  # what it sent for other inputs is not to stand in for what was refused
            intake.drop_upload(session.run, client_id)
        tally.check_enough(session, len(manifests), len(asked), refused)
        return tally.summary(session, manifests, refused), _files(session, manifests)

    value, _ = session.stage("clients", clients_inputs(session, partition_digest), work)
    return dict(value)


def _ask_again(session: Session, clients: Sequence[str]) -> None:
    """Have clients answer again whose own record of their upload is damaged: only they can write it."""
    for name in clients:
        names = keeping.damaged(session.run.path("clients", name, "private"))
        if names:
            log.warning("%s: %s in its private folder is damaged or lost: the client is asked again", name,
                        " and ".join(names))  # fmt: skip
            session.run.remove(intake.upload_path(session.run, name).with_suffix(".json"))


def gather_inputs(session: Session, clients: Sequence[str]) -> dict[str, Any]:
    """Of uploads that came as files: who may answer, and what has come."""
    out = set(intake.forgotten(session.run))
    there = {name: intake.kept(session.run, name) for name in clients if name not in out}
    return {
        "clients": digest_of(sorted(clients)), "upload": session.config.upload.model_dump(),
        "generator": dict(session.generator.encoding()), "round": client.ROUND, "format": upload.VERSION,
        "classes": list(session.info.class_names),
        "files": {**dict.fromkeys(sorted(there)), **intake.identities(session, there)},
        "refused": sorted(refusals.listed(session.run)),
    }  # fmt: skip


def gather(session: Session, clients: Sequence[str]) -> dict[str, Any]:
    """What `fgl server ingest` has accepted, judged again by the configuration as it is now. Raises UploadError for one
    that is damaged or gone: only its client has it."""
    intake.drop(session.run, intake.forgotten(session.run))  # if taking one out was interrupted
    inputs = gather_inputs(session, clients)

    def work(_: str) -> tuple[Any, list[Path]]:
        before = (session.run.recorded("clients") or {"value": {"bytes_per_client": {}}})["value"]["bytes_per_client"]
        for name, digest in inputs["files"].items():
            path = intake.upload_path(session.run, name)
            if digest is None and (path.exists() or path.with_suffix(".json").exists() or name in before):
                raise UploadError(
                    f"the upload of {name} is damaged or gone from where it was kept: ingest its file again, or go on "
                    f"without it by fgl server forget --client {name}"
                )
        kept = {name: _manifest(session, name) for name, digest in inputs["files"].items() if digest is not None}
        expected, encoding = intake.expectation(session, clients), intake.Encoding(session)
        manifests, refused = intake.judged(session, kept, expected, encoding)
        refused = {**refusals.listed(session.run), **refused}
        tally.check_enough(session, len(manifests), len(inputs["files"]), refused)
        return tally.summary(session, manifests, refused), _files(session, manifests)

    value, _ = session.stage("clients", inputs, work)
    return dict(value)


def _manifest(session: Session, client_id: str) -> dict[str, Any]:
    found = session.run.read_sealed(intake.upload_path(session.run, client_id).with_suffix(".json"))
    if found is None:
        raise UploadError(f"the manifest of {client_id}'s upload is gone or damaged: run again")
    return found


def _answered(session: Session, client_id: str, request: str) -> dict[str, Any] | None:
    found = intake.kept(session.run, client_id)
    return found if found is not None and found["request"] == request else None


def _files(session: Session, manifests: Mapping[str, Any]) -> list[Path]:
    paths = [intake.upload_path(session.run, name) for name in sorted(manifests)]
    return [*paths, *(path.with_suffix(".json") for path in paths)]


def _drop_others(session: Session, clients: Sequence[str]) -> None:
    """Remove what an earlier run in this folder left of clients that are not of this one."""
    run = session.run
    there = {path.stem for kind in ("uploads", "encoded") for path in run.owned("server", kind)}
    there |= {folder.root.parent.name for folder in run.nested_below("clients")}
    intake.drop(run, there - set(clients))


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
        "uploads": uploads, "aggregator": config.aggregator.model_dump(), "seed": config.seed,
        "generator": session.generator.fingerprint(), "images_per_class": config.synthesis.images_per_class,
        "shard_size": config.synthesis.shard_size, "max_weight_ratio": config.upload.max_weight_ratio,
    }  # fmt: skip


def make_plan(session: Session, uploads: Mapping[str, Any]) -> Plan:
    """Uploads → conditioning → shards to fill. uploads: what `collect` or `gather` returned."""
    path = session.run.path("server", "plan.parquet")

    def conditioning() -> Conditioning:
        return aggregate(session, intake.opened(session, list(uploads["bytes_per_client"])))

    made = Plan([], {}, "", conditioning)

    def work(_: str) -> tuple[Any, list[Path]]:
        _check_alike(session, made.conditioning)
        shards = divide(session, made.conditioning)
        write_plan(session.run, path, shards)
        return {
            "rows": sum(uploads["prompts"].values()), "conditionings": len(made.conditioning),
            "images": sum(len(shard.items) for shard in shards), "shards": len(shards),
            "missing_classes": missing_classes(session, made.conditioning),
        }, [path]  # fmt: skip

    made.value, made.digest = session.stage("plan", plan_inputs(session, uploads["uploads"]), work)
    made.shards = read_plan(path)
    return made


def _check_alike(session: Session, conditioning: Conditioning) -> None:
    """Raises ClassListError where two classes are the same numbers. Clients that are elsewhere are told of instead: one
    of them is not to end everybody's run by sending another's rows under a class of its own choice."""
    pairs = alike.of_conditioning(conditioning)
    if pairs and not session.apart:
        raise ClassListError(alike.told(pairs, session.info.class_names))
    if pairs:
        log.warning("%s", alike.told(pairs, session.info.class_names))


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


def recipe(session: Session) -> dict[str, Any]:
    """What determines an image beside its item, to the last bit."""
    return {
        "generator": session.generator.fingerprint(),
        "rounding": dict(session.generator.rounding(session.device)),
        "classes": list(session.info.class_names),
    }


def synthesize_inputs(session: Session, plan_digest: str) -> dict[str, Any]:
    return {"plan": plan_digest, **recipe(session)}


def synthesize(session: Session, planned: Plan) -> dict[str, Any]:
    """Fill the shards that are not there yet, then take the digest of the whole set."""
    folder = session.run.path("server", "shards")

    def work(_: str) -> tuple[Any, list[Path]]:
        made, notes = fill(session, folder, planned, "synthesize")
        redrawn = 0

        def images() -> Iterator[tuple[str, int, bytes]]:
            nonlocal redrawn
            for row, rgb in read_shards(folder, planned.shards):
                redrawn += row["draw"] > 0
                yield row["image_id"], row["label"], rgb.tobytes()

        digest = plan.set_digest(images())
        total = sum(len(shard.items) for shard in planned.shards)
        value = {
            "images": total, "images_reused": total - made, "images_redrawn": redrawn, "digest": digest,
            "notes": dict(notes),
        }  # fmt: skip
        return value, shard_files(folder, planned)

    value, _ = session.stage("synthesize", synthesize_inputs(session, planned.digest), work)
    shard_store(session, folder).end(planned.shards)  # what a plan in between has left, which was not come back from
    return dict(value)


def fill(session: Session, folder: Path, planned: Plan, label: str) -> tuple[int, Mapping[str, object]]:
    """Make `folder` hold exactly the planned shards: see `synthesis.fill`."""
    return synthesis.fill(session, shard_store(session, folder), planned.shards, lambda: planned.conditioning, label)


def shard_files(folder: Path, planned: Plan) -> list[Path]:
    return [folder / f"shard-{shard.index:05d}.{kind}" for shard in planned.shards for kind in ("parquet", "json")]


def shard_store(session: Session, folder: Path | None = None) -> ShardStore:
    """folder: None for the run's own set."""
    place = session.run.path("server", "shards") if folder is None else folder
    return ShardStore(session.run, place, digest_of(recipe(session)), session.info.class_names, session.config.seed)


def load_set(session: Session, folder: Path, shards: Sequence[Shard]) -> Set:
    """The synthetic set of a plan as training and validation part, in the order of the plan."""
    rows, pixels = [], []
    for row, rgb in read_shards(folder, shards):
        rows.append(row)
        pixels.append(rgb)
    return divided_set(session, [row["image_id"] for row in rows], [row["label"] for row in rows], pixels)


def divided_set(session: Session, image_ids: Sequence[str], classes: Sequence[int], pixels: Sequence[Pixels]) -> Set:
    """Synthetic images as training and validation part, each in their order. Too few to select by are trained on."""
    if not image_ids:
        raise DataError("the synthetic set is empty")
    options = session.config.synthesis
    mask = plan.validation_mask(image_ids, classes, options.validation_fraction)
    if mask.sum() < options.validation_per_class * len(set(classes)):
        # A share of n images has a standard error of up to 0.5 / √n: the best of many epochs on a handful is chance.
        mask[:] = False
    images, labels = np.stack(pixels), np.array(classes, dtype=np.int64)
    validation = LabelledPixels(images[mask], labels[mask]) if mask.any() else None
    return LabelledPixels(images[~mask], labels[~mask]), validation
