"""The run directory: atomic writes, stage records, shards.

RUN/config.yaml                      the resolved configuration
RUN/environment.json                 versions, device, threads
RUN/partition.json                   which training samples each simulated client holds
RUN/stages/<stage>.json              digests of inputs and outputs, seconds; the record is the commit
RUN/clients/<k>/private/             stays at the client: its prompts
RUN/server/uploads/<k>.safetensors   what crossed the boundary, byte for byte
RUN/server/plan.parquet              every image that will be: id, conditioning, class, seed
RUN/server/shards/*.parquet, *.json  the synthetic set, and a manifest a shard
RUN/train/{selected,last}.safetensors  the classifier's two checkpoints, as evaluation reads them
RUN/classifier/                      the selected one, Hugging Face format
RUN/controls/<name>.json             the baselines
RUN/controls/prompts-<name>/         a whole run with another prompt strategy
RUN/sheets/*.png                     contact sheets, one a class
RUN/metrics.jsonl, report.json, report.md
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fgl.core.errors import StoreError
from fgl.core.types import PlanItem, Shard

if TYPE_CHECKING:
    from fgl.core.types import Pixels

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths and commits of one run."""

    root: Path

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process. The kernel drops the lock when the holder dies, so none goes stale.

        Raises StoreError that says who holds it, or why the directory cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+")
        except OSError as error:
            raise StoreError(f"cannot write to {self.root}: {error.strerror or error}; choose another --out") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StoreError(f"{self.root} is in use by process {file.read().strip() or 'unknown'}") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def write(self, path: Path, data: bytes) -> None:
        """Write to a temporary name beside it, flush to disk, rename: a reader sees the old file or the new one."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync(path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error

    def write_json(self, path: Path, value: Any) -> None:
        self.write(path, (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n").encode())

    def record(self, stage: str, inputs: str, outputs: Sequence[Path], seconds: float, value: Any) -> None:
        """Commit a stage. value: JSON, what later stages and the report need of it."""
        self.write_json(
            self._record(stage),
            {
                "version": RECORD_VERSION,
                "stage": stage,
                "inputs": inputs,
                "outputs": {str(path.relative_to(self.root)): file_digest(path) for path in outputs},
                "seconds": round(seconds, 3),
                "value": value,
            },
        )

    def committed(self, stage: str, inputs: str) -> dict[str, Any] | None:
        """The stage's record, if it was made from these inputs and its outputs are still what they were."""
        path = self._record(stage)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            fits = record["version"] == RECORD_VERSION and record["inputs"] == inputs
            if fits and all(file_digest(self.root / name) == digest for name, digest in record["outputs"].items()):
                return dict(record)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None

    def _record(self, stage: str) -> Path:
        return self.path("stages", f"{stage.replace(':', '-')}.json")

    def write_plan(self, path: Path, shards: Sequence[Shard]) -> None:
        columns: dict[str, list[Any]] = {
            "shard": [], "image_id": [], "conditioning": [], "conditioning_id": [], "class_id": [], "domain": [],
            "guidance_scale": [], "seed": [], "draw": [],
        }  # fmt: skip
        for shard in shards:
            for item in shard.items:
                columns["shard"].append(shard.index)
                for name in columns:
                    if name != "shard":
                        columns[name].append(getattr(item, name))
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        self.write(path, buffer.getvalue())

    def read_plan(self, path: Path) -> list[Shard]:
        shards: dict[int, list[PlanItem]] = {}
        for row in pq.read_table(path).to_pylist():
            shards.setdefault(row.pop("shard"), []).append(PlanItem(**row))
        return [Shard(index, tuple(items)) for index, items in sorted(shards.items())]

    def write_shard(self, folder: Path, shard: Shard, pixels: Pixels, class_names: Sequence[str], inputs: str) -> None:
        """Parquet that `datasets.load_dataset("parquet", …)` opens with decoded images and named labels; then its
        manifest, which is the commit. pixels: uint8 [n, h, w, 3], in the order of the shard."""
        path = folder / f"shard-{shard.index:05d}.parquet"
        images = [{"bytes": png(image), "path": None} for image in pixels]
        table = pa.table(
            {
                "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                "label": pa.array([item.class_id for item in shard.items], pa.int64()),
                "image_id": [item.image_id for item in shard.items],
                "conditioning_id": [item.conditioning_id for item in shard.items],
                "domain": [item.domain for item in shard.items],
                "seed": pa.array([item.seed for item in shard.items], pa.int64()),
                "draw": pa.array([item.draw for item in shard.items], pa.int64()),
            }
        )
        table = table.replace_schema_metadata({"huggingface": json.dumps(_features(class_names))})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        data = buffer.getvalue()
        self.write(path, data)
        self.write_json(
            path.with_suffix(".json"),
            {"inputs": inputs, "images": len(shard.items), "sha256": hashlib.sha256(data).hexdigest()},
        )

    def shard_done(self, folder: Path, index: int, inputs: str) -> bool:
        """Whether the shard is committed, was made from these inputs, and is undamaged."""
        path = folder / f"shard-{index:05d}.parquet"
        try:
            manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            return bool(manifest["inputs"] == inputs and manifest["sha256"] == file_digest(path))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def read_shards(self, folder: Path) -> Iterator[tuple[dict[str, Any], Pixels]]:
        """Each image of the set with its row. Raises StoreError for a shard without manifest or with other bytes."""
        for path in sorted(folder.glob("shard-*.parquet")):
            index = int(path.stem.removeprefix("shard-"))
            try:
                manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise StoreError(f"shard {index} of {folder} has no manifest: it was never committed") from error
            if manifest.get("sha256") != file_digest(path):
                raise StoreError(
                    f"{path} is damaged: its bytes are not those that were committed; run again to redo it"
                )
            for row in pq.read_table(path).to_pylist():
                image = row.pop("image")["bytes"]
                yield row, np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _features(class_names: Sequence[str]) -> Mapping[str, Any]:
    value = {"dtype": "string", "_type": "Value"}
    number = {"dtype": "int64", "_type": "Value"}
    return {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": {"names": list(class_names), "_type": "ClassLabel"},
                "image_id": value, "conditioning_id": value, "domain": value, "seed": number, "draw": number,
            }
        }
    }  # fmt: skip


def _sync(folder: Path) -> None:
    """Make a rename last. Some file systems cannot; there the rename itself is all that there is."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
