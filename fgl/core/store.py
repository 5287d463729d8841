"""The run directory: atomic writes, sealed records, checkpoints, the lock.

RUN/config.yaml                      the resolved configuration
RUN/environment.json                 versions, device, threads
RUN/partition.json                   which training samples each simulated client holds
RUN/stages/<stage>.json              inputs, digests of outputs, seconds; the record is the commit
RUN/checkpoints/<stage>/             training that has not ended, one file a fit; gone when the stage is committed
RUN/clients/<k>/private/             stays at the client: its prompts, captions and a summary
RUN/server/uploads/<k>.safetensors   what crossed the boundary, byte for byte; <k>.json is its commit
RUN/server/encoded/<k>.safetensors   what an upload of texts was encoded to, with its seal; made again where it is lost
RUN/server/refused.json              uploads that were not accepted, and the rule that each broke
RUN/server/forgotten.json            clients that were taken out, and when; RUN/forgotten.json is the same list
RUN/server/plan.parquet              every image that will be: id, conditioning, class, seed
RUN/server/shards/*.parquet, *.json  the synthetic set, and a manifest a shard
RUN/server/shards.previous/          shards of an earlier plan, until those of this one are all there
RUN/train/{selected,last}.safetensors  the classifier's two checkpoints, as evaluation reads them
RUN/classifier/                      the selected one, Hugging Face format
RUN/controls/<name>.json             the baselines
RUN/controls/prompts-<name>/         a whole run with another prompt strategy
RUN/quality/<space>.{json,csv}       how the set compares with real images; .safetensors: a space that is learnt
RUN/audit/audit.{json,md}            what `fgl audit` found; roc.{png,svg}; scores/: what shadow models say
RUN/audit/private/                   closest pairs with clients' images, distances, prompts that were found
RUN/audit/shadows/, images/          shadow models and their images, while an audit is not at its end
RUN/sheets/*.png                     contact sheets, one a class
RUN/metrics.jsonl, report.json, report.md
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl.core import strict_json
from fgl.core.errors import StoreError

if TYPE_CHECKING:
    from fgl.core.types import Array

RECORD_VERSION = 2
_SEAL = "seal"


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths and commits of one run."""

    root: Path

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process. The kernel drops the lock when the holder dies, whatever the file says,
        so none goes stale.

        Raises StoreError that says who holds it, or why the directory cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a+")
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.root}: {error.strerror or error}; choose another folder"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    raise StoreError(
                        f"cannot lock {self.root}: {error.strerror}; choose an --out on a file system that has locks"
                    ) from error
                file.seek(0)
                raise StoreError(f"{self.root} is in use by {_holder(file.read())}") from None
            try:
                file.truncate(0)
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                file.write(strict_json.dumps(holder))
                file.flush()
                # What a killed process left half-written is no longer anybody's, and may hold a client's rows.
                for part in self.root.rglob(".*.part"):
                    part.unlink()
            except OSError as error:
                raise StoreError(f"cannot write to {self.root}: {error.strerror or error}") from error
            yield

    def write(self, path: Path, data: bytes) -> None:
        """Write to a temporary name beside it, flush to disk, rename: a reader sees the old file or the new one.

        Raises StoreError, and leaves no half-written file behind."""
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync(path.parent)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise StoreError(f"cannot write {path}: {error.strerror or error}{advice(error)}") from error

    def write_json(self, path: Path, value: Any) -> None:
        self.write(path, _text_of(path, value))

    def write_sealed(self, path: Path, value: Mapping[str, Any]) -> None:
        """JSON with a digest of itself, so that a flipped bit in a number cannot pass for the number."""
        self.write_json(path, {**value, _SEAL: digest_of(dict(value))})

    @staticmethod
    def read_sealed(path: Path) -> dict[str, Any] | None:
        """None where the file is not there, or is not what was written."""
        try:
            value = strict_json.loads(path.read_text(encoding="utf-8"))
            seal = value.pop(_SEAL)
            return dict(value) if seal == digest_of(value) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def record(
        self, stage: str, inputs: Mapping[str, Any], outputs: Sequence[Path], seconds: float, value: Any
    ) -> None:
        """Commit a stage. inputs: JSON, everything that determines the result. value: JSON, what later stages and the
        report need of it."""
        self.write_sealed(
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
        self.checkpoints(stage, "").drop()

    def recorded(self, stage: str) -> dict[str, Any] | None:
        """The stage's record as it was last committed, whether or not it still holds."""
        record = self.read_sealed(self._record(stage))
        return record if record is not None and record.get("version") == RECORD_VERSION else None

    def damaged(self, record: Mapping[str, Any]) -> list[str]:
        """Outputs of a record that are no longer there, or no longer what they were."""
        return [name for name, digest in record["outputs"].items() if _digest_or_none(self.root / name) != digest]

    def committed(self, stage: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The stage's record, if it was made from these inputs and its outputs are still what they were."""
        record = self.recorded(stage)
        if record is None or record["inputs"] != strict_json.loads(strict_json.dumps(inputs)) or self.damaged(record):
            return None
        return record

    def other_version(self, stage: str) -> bool:
        """Whether there is a sound record of the stage that another version of fgl wrote."""
        record = self.read_sealed(self._record(stage))
        return record is not None and record.get("version") != RECORD_VERSION

    def forget_stage(self, stage: str) -> None:
        self._record(stage).unlink(missing_ok=True)

    def checkpoints(self, stage: str, inputs: str) -> Checkpoints:
        """Where the stage keeps unfinished training. inputs: digest; what other inputs left is not found."""
        return Checkpoints(self, self.path("checkpoints", _file_name(stage)), inputs)

    def _record(self, stage: str) -> Path:
        return self.path("stages", f"{_file_name(stage)}.json")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Unfinished training of one stage (contract `Checkpoint`), one file a fit, each with a digest of itself."""

    run: RunDir
    folder: Path
    inputs: str
    name: str = "fit"

    def child(self, name: str) -> Checkpoints:
        # by digest: a client's id is not to become a path
        part = hashlib.sha256(f"{self.name}/{name}".encode()).hexdigest()[:32]
        return Checkpoints(self.run, self.folder, self.inputs, part)

    def save(self, arrays: Mapping[str, Array]) -> None:
        body = save({name: np.array(array, order="C") for name, array in arrays.items()}, {"inputs": self.inputs})
        self.run.write(self._path(), hashlib.sha256(self.inputs.encode() + body).digest() + body)

    def load(self) -> Mapping[str, Array] | None:
        try:
            data = self._path().read_bytes()
        except OSError:
            return None
        if data[:32] != hashlib.sha256(self.inputs.encode() + data[32:]).digest():
            return None
        try:
            return dict(load(data[32:]))
        except SafetensorError:
            return None

    def drop(self) -> None:
        """Remove them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self) -> Path:
        return self.folder / f"{self.name}.safetensors"


def file_digest(path: Path) -> str:
    """Raises StoreError where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(strict_json.canonical(value)).hexdigest()


def _text_of(path: Path, value: Any) -> bytes:
    try:
        return (strict_json.dumps(value, indent=2) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise StoreError(f"cannot write {path}: {error}; what it was computed from is kept") from error


def _digest_or_none(path: Path) -> str | None:
    try:
        return file_digest(path)
    except StoreError:
        return None


def _file_name(stage: str) -> str:
    return stage.replace(":", "-")


def _holder(text: str) -> str:
    try:
        holder = strict_json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space and run the same command again: what is committed is kept"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "; the folder must be writable"
    return ""


def _sync(folder: Path) -> None:
    """Make a rename last. Some file systems cannot; there the rename itself is all that there is."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
