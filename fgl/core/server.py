"""The server's side up to the synthetic set: ingest, aggregate, plan, synthesize."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgl.core import client, plan, upload
from fgl.core.errors import DataError, UploadError
from fgl.core.types import ClientUpload, Conditioning, Failure, LabelledPixels, Shard

if TYPE_CHECKING:
    from fgl.core.session import Session

ROUND = 0


def partition(session: Session) -> tuple[dict[str, list[int]], str]:
    """Divide the training samples. Simulation only: a real deployment's clients hold what they hold."""

    def work(_: str) -> tuple[Any, list[Path]]:
        train = session.split("train")
        divided = session.manager.create("partition", session.config.partition).partition(
            train.labels, train.domains, session.config.seed
        )
        if not divided:
            raise DataError("the partition has no clients")
        path = session.run.path("partition.json")
        session.run.write_json(path, divided)
        counts = {
            name: np.bincount(train.labels[rows], minlength=len(session.info.class_names)).tolist()
            for name, rows in divided.items()
        }
        return {"clients": len(divided), "samples": counts}, [path]

    config = session.config
    inputs = {"dataset": session.info.digest, "partition": config.partition.model_dump(), "seed": config.seed}
    _, digest = session.stage("partition", inputs, work)
    divided = json.loads(session.run.path("partition.json").read_text(encoding="utf-8"))
    return divided, digest


def collect(session: Session, clients: Sequence[str], partition_digest: str) -> tuple[dict[str, Any], str]:
    """Ask every client for its upload and validate what comes back. Refused uploads are listed; the others go on."""

    def work(_: str) -> tuple[Any, list[Path]]:
        federation = session.manager.create("federation", session.config.federation)
        expected = expectation(session, clients)
        kept: dict[str, int] = {}
        text: dict[str, int] = {}
        prompts: dict[str, int] = {}
        refused: dict[str, str] = {}
        outputs: list[Path] = []

        def payload(client_id: str) -> bytes:
            private = session.run.path("clients", client_id, "private")
            return client.request(session.config, client_id, ROUND, private, session.device, session.info.digest)

        for client_id, reply in federation.call(clients, client.PREPARE, payload, session.progress):
            try:
                if isinstance(reply, Failure):
                    raise UploadError(reply.reason)
                accepted = upload.decode(reply, expected, client_id)
            except UploadError as error:
                refused[client_id] = str(error)
                continue
            path = upload_path(session, client_id)
            session.run.write(path, reply)
            outputs.append(path)
            kept[client_id], text[client_id], prompts[client_id] = len(reply), accepted.text_bytes, len(accepted)
        _drop_others(session, clients, kept)
        if not kept:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise UploadError(f"no upload was accepted ({reasons})")
        return {
            "bytes_total": sum(kept.values()), "bytes_per_client": kept, "text_bytes_total": sum(text.values()),
            "prompts": prompts, "refused": refused,
        }, outputs  # fmt: skip

    config = session.config
    inputs = {
        "partition": partition_digest, "prompt_strategy": config.prompt_strategy.model_dump(),
        "generator": session.generator.declare().encoder, "options": config.generator.options.get("encode_batch_size"),
        "upload": config.upload.model_dump(), "seed": config.seed,
    }  # fmt: skip
    return session.stage("clients", inputs, work)


def _drop_others(session: Session, clients: Sequence[str], kept: Mapping[str, int]) -> None:
    """Remove what an earlier run in this folder left of clients that are not of this one."""
    for path in session.run.path("server", "uploads").glob("*.safetensors"):
        if path.stem not in kept:
            path.unlink()
    for folder in session.run.path("clients").glob("*"):
        if folder.name not in clients:
            shutil.rmtree(folder)


def upload_path(session: Session, client_id: str) -> Path:
    return session.run.path("server", "uploads", f"{client_id}.safetensors")


def expectation(session: Session, clients: Sequence[str]) -> upload.Expected:
    return upload.Expected(
        declaration=session.generator.declare(),
        clients=tuple(clients),
        round=ROUND,
        classes=len(session.info.class_names),
        max_bytes=int(session.config.upload.max_megabytes * 1e6),
    )


def aggregate(session: Session, uploads: Sequence[ClientUpload]) -> tuple[Conditioning, list[Shard]]:
    """Uploads → conditioning → shards to fill."""
    aggregator = session.manager.create("aggregator", session.config.aggregator)
    conditioning = aggregator.aggregate(uploads, session.generator.fingerprint())
    synthesis = session.config.synthesis
    shards = plan.make_plan(conditioning, synthesis.images_per_class, session.config.seed, synthesis.shard_size)
    return conditioning, shards


def make_plan(session: Session, clients: Sequence[str], uploads_digest: str) -> tuple[Conditioning, list[Shard], str]:
    expected = expectation(session, clients)
    uploads = [upload.decode(upload_path(session, name).read_bytes(), expected, name) for name in sorted(clients)]
    conditioning, shards = aggregate(session, uploads)

    def work(_: str) -> tuple[Any, list[Path]]:
        path = session.run.path("server", "plan.parquet")
        session.run.write_plan(path, shards)
        return {
            "rows": sum(len(one) for one in uploads), "conditionings": len(conditioning),
            "images": sum(len(shard.items) for shard in shards), "shards": len(shards),
            "missing_classes": missing_classes(session, conditioning),
        }, [path]  # fmt: skip

    config = session.config
    inputs = {
        "uploads": uploads_digest, "aggregator": config.aggregator.model_dump(), "seed": config.seed,
        "generator": session.generator.fingerprint(), "images_per_class": config.synthesis.images_per_class,
        "shard_size": config.synthesis.shard_size,
    }  # fmt: skip
    _, digest = session.stage("plan", inputs, work)
    return conditioning, shards, digest


def missing_classes(session: Session, conditioning: Conditioning) -> list[str]:
    """Classes that nobody uploaded a row for."""
    there = {int(class_id) for class_id in conditioning.class_id}
    return [name for index, name in enumerate(session.info.class_names) if index not in there]


def synthesize(
    session: Session, conditioning: Conditioning, shards: Sequence[Shard], plan_digest: str
) -> dict[str, Any]:
    """Fill the shards that are not there yet, then take the digest of the whole set."""
    folder = session.run.path("server", "shards")

    def work(digest: str) -> tuple[Any, list[Path]]:
        reused = fill(session, folder, conditioning, shards, digest, "synthesize")
        images = ((row["image_id"], row["label"], rgb.tobytes()) for row, rgb in session.run.read_shards(folder))
        outputs = [path for shard in shards for path in (_shard(folder, shard),)]
        return {
            "images": sum(len(shard.items) for shard in shards), "digest": plan.set_digest(images),
            "shards_reused": reused,
        }, outputs  # fmt: skip

    inputs = {"plan": plan_digest, "generator": session.generator.fingerprint(), "device": session.device.split(":")[0]}
    value, _ = session.stage("synthesize", inputs, work)
    return dict(value)


def fill(
    session: Session, folder: Path, conditioning: Conditioning, shards: Sequence[Shard], digest: str, label: str
) -> int:
    """Make `folder` hold exactly these shards, synthesizing those it lacks for the stage `digest`.

    Returns how many were there. label: what the progress display calls it."""
    done = {shard.index for shard in shards if session.run.shard_done(folder, shard.index, digest)}
    _drop_foreign(folder, len(shards))
    left = [shard for shard in shards if shard.index not in done]
    with session.progress.track(label, sum(len(shard.items) for shard in left)) as task:
        synthesizer = session.generator.synthesizer(session.device) if left else None

        def one(shard: Shard) -> None:
            assert synthesizer is not None
            pixels = np.concatenate(list(synthesizer.synthesize(shard, conditioning, task.advance)))
            session.run.write_shard(folder, shard, pixels, session.info.class_names, digest)

        session.executor.run(left, one)
    return len(done)


def _shard(folder: Path, shard: Shard) -> Path:
    return folder / f"shard-{shard.index:05d}.parquet"


def _drop_foreign(folder: Path, count: int) -> None:
    """Remove shards of an earlier, longer plan, which would otherwise count as part of this set."""
    for path in folder.glob("shard-*.*"):
        if int(path.stem.removeprefix("shard-")) >= count:
            path.unlink()


def load_set(session: Session, folder: Path) -> tuple[LabelledPixels, LabelledPixels | None]:
    """The synthetic set as training and validation part. The order is by image id within the shards' order."""
    rows, pixels = [], []
    for row, rgb in session.run.read_shards(folder):
        rows.append(row)
        pixels.append(rgb)
    if not rows:
        raise DataError("the synthetic set is empty")
    labels = np.array([row["label"] for row in rows], dtype=np.int64)
    mask = plan.validation_mask(
        [row["image_id"] for row in rows], labels.tolist(), session.config.synthesis.validation_fraction
    )
    images = np.stack(pixels)
    validation = LabelledPixels(images[mask], labels[mask]) if mask.any() else None
    return LabelledPixels(images[~mask], labels[~mask]), validation
