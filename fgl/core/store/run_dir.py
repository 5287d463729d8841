"""The run directory: atomic writes, sealed records, checkpoints, the lock.

RUN/config.yaml                      the resolved configuration
RUN/environment.json                 versions, device, threads
RUN/partition.json                   which training samples each simulated client holds
RUN/stages/<stage>.json              inputs, digests of outputs, seconds; the record is the commit
RUN/checkpoints/<stage>/             training that has not ended, one file a fit; gone when the stage is committed
RUN/clients/<k>/private/             stays at the client: its prompts, captions and a summary
RUN/server/uploads/<k>.safetensors   what crossed the boundary, byte for byte; <k>.json is its commit
RUN/server/encoded/<k>.safetensors   what an upload of texts was encoded to, with its seal; recomputed where it is lost
RUN/server/refused.json              uploads that were not accepted, and the rule that each broke
RUN/server/votes/                    ballots, a file a round with its candidates and votes; pictures that are varied
RUN/server/received/<round>/         votes that came as files, and a manifest a vote
RUN/server/forgotten.json            clients that were taken out, and when; RUN/forgotten.json is the same list
RUN/server/log.jsonl                 the server's record where clients are elsewhere; log-head, log-details: beside it
RUN/server/plan.parquet              every image that will be: id, conditioning, class, seed
RUN/server/shards/*.parquet, *.json  the synthetic set, and a manifest a shard
RUN/server/shards.previous/          shards of an earlier plan, until those of this one are all there
RUN/adaptation/generator/            what the clients have made of the generator, as its option takes it
RUN/adaptation/clients/<digest>/     the same of each client, where the last round is not averaged
RUN/train/{selected,last}.safetensors  the classifier's two checkpoints, as evaluation reads them
RUN/classifier/                      the selected one, Hugging Face format
RUN/baselines/<name>.json            the baselines
RUN/baselines/prompts-<name>/        a whole run with another prompt strategy
RUN/quality/<space>.{json,csv}       how the set compares with real images; .safetensors: a space that is learnt
RUN/audit/audit.{json,md}            what `fgl audit` found; roc.{png,svg}; scores/: what shadow models say
RUN/audit/private/                   closest pairs with clients' images, distances, prompts that were found
RUN/audit/shadows/, images/          shadow models and their images, while an audit is not at its end
RUN/sheets/*.png                     contact sheets, one a class
RUN/trackers/<name>/                 what a tracker of the configuration writes
RUN/metrics.jsonl, report.json, report.md
RUN/.lock, .fgl-files                who is at work; which of all these files fgl wrote (see `ledger`)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgl.core.store.checkpoints import Checkpoints
from fgl.core.store.ledger import NAME as LEDGER
from fgl.core.store.owned import OwnedFolder, file_digest
from fgl.errors import StoreError
from fgl.io import strict_json

RECORD_VERSION = 2
# By which a folder that lies in a run is known for fgl's where the run's ledger was lost.
_SIGNS = (LEDGER, "summary.json", "stages/partition.json")


@dataclass(frozen=True, slots=True)
class RunDir(OwnedFolder):
    """Paths and commits of one run."""

    @property
    def plan_file(self) -> Path:
        """Every image that will be."""
        return self.path("server", "plan.parquet")

    @property
    def shards(self) -> Path:
        """Folder of the synthetic set."""
        return self.path("server", "shards")

    @property
    def partition_file(self) -> Path:
        """Which training samples each simulated client holds."""
        return self.path("partition.json")

    def record(
        self, stage: str, inputs: Mapping[str, object], outputs: Sequence[Path], seconds: float, value: Any
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

    def committed(self, stage: str, inputs: Mapping[str, object]) -> dict[str, Any] | None:
        """The stage's record, if it was made from these inputs and its outputs are still what they were."""
        record = self.recorded(stage)
        if record is None or record["inputs"] != strict_json.loads(strict_json.dumps(inputs)) or self.damaged(record):
            return None
        return record

    def has_record(self, stage: str) -> bool:
        """Whether there is one, sound or not."""
        return self._record(stage).exists()

    def other_version(self, stage: str) -> bool:
        """Whether there is a sound record of the stage that another version of fgl wrote."""
        record = self.read_sealed(self._record(stage))
        return record is not None and record.get("version") != RECORD_VERSION

    def forget_stage(self, stage: str) -> None:
        self.remove(self._record(stage))

    def checkpoints(self, stage: str, inputs: str) -> Checkpoints:
        """Where the stage keeps unfinished training. inputs: digest; what other inputs left is not found."""
        return Checkpoints(self, self.path("checkpoints", _file_name(stage)), inputs)

    def _record(self, stage: str) -> Path:
        return self.path("stages", f"{_file_name(stage)}.json")

    def _recorded(self) -> list[str]:
        """Where the ledger was lost: what is fgl's for sure."""
        records = [path for path in self.path("stages").glob("*.json") if not path.is_symlink()]
        sound = {path: record for path in records if (record := self.read_sealed(path)) and "outputs" in record}
        nested = {
            path.parents[sign.count("/")]
            for folder in ("clients/*/private", "baselines/*", "methods/*", "audit/shadows/*")
            for sign in _SIGNS
            for path in self.root.glob(f"{folder}/{sign}")
        }
        return [
            *OwnedFolder._recorded(self),
            *map(self.name_of, sound),
            *(name for record in sound.values() for name in record["outputs"]),
            *(f"{self.name_of(folder)}/" for folder in sorted(nested)),
        ]


def _digest_or_none(path: Path) -> str | None:
    try:
        return file_digest(path)
    except StoreError:
        return None


def _file_name(stage: str) -> str:
    return stage.replace(":", "-")


def default_run_dir() -> Path:
    """runs/<time>, with a number behind it where that is taken."""
    base = Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder
