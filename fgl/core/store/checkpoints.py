"""Checkpoints of unfinished training, in a folder of fgl's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl.contracts.arrays import contiguous
from fgl.core.store.owned import OwnedFolder
from fgl.io import files

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Unfinished training of one stage (contract `Checkpoint`), one file a fit, each with a digest of itself."""

    run: OwnedFolder
    folder: Path
    inputs: str
    name: str = "fit"

    def child(self, name: str) -> Checkpoints:
        # by digest: a client's id is not to become a path
        part = hashlib.sha256(f"{self.name}/{name}".encode()).hexdigest()[:32]
        return Checkpoints(self.run, self.folder, self.inputs, part)

    def save(self, arrays: Mapping[str, Array]) -> None:
        body = save(contiguous(arrays), {"inputs": self.inputs})
        self.run.write(self._path(), hashlib.sha256(self.inputs.encode() + body).digest() + body)

    def load(self) -> Mapping[str, Array] | None:
        try:
            data = files.read_bytes(self._path())
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
        self.run.remove_below(self.folder)

    def _path(self) -> Path:
        return self.folder / f"{self.name}.safetensors"
