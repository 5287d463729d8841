"""Labelled images that stay encoded until they are needed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fgl.errors import BadImageError
from fgl.io.files import read_bytes
from fgl.plugins.datasets.decode import decode
from fgl.text import escaped

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


@dataclass(frozen=True, slots=True)
class LazyImages:
    """An ImageSet over anything that yields encoded bytes: a column of a table, or files on disk."""

    read: Callable[[int], bytes]
    """Sample position → encoded bytes; empty if there are none."""

    labels: Labels
    """int64 [n]; -1: a sample that `assemble` leaves out."""

    domains: Sequence[str] | None
    """n names, or None."""

    naming: Callable[[int], str]
    """Sample position → a name that a person can look up."""

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        """Decode one sample to RGB. Raises BadImageError, which names it."""
        return decode(self.read(index), self.naming(index))

    def name(self, index: int) -> str:
        return self.naming(index)

    def kind(self, index: int) -> tuple[str, str, int, int]:
        """(format, mode, width, height) of one sample as stored, from its header, which `image` hides."""
        with Image.open(io.BytesIO(self.read(index))) as image:
            return image.format or "", image.mode, image.width, image.height

    def select(self, rows: Sequence[int]) -> LazyImages:
        """The samples at `rows`, in that order."""
        return LazyImages(
            lambda index: self.read(rows[index]),
            self.labels[np.asarray(rows, dtype=np.int64)],
            None if self.domains is None else [self.domains[row] for row in rows],
            lambda index: self.naming(rows[index]),
        )


def from_files(files: Sequence[Path], labels: Sequence[int], domains: Sequence[str] | None) -> LazyImages:
    """Images in files, named by their paths; each is read again on every access."""

    def read(index: int) -> bytes:
        try:
            return read_bytes(files[index])
        except OSError as error:
            reason = error.strerror or str(error)
            if files[index].is_symlink():
                reason += f" (it is a link to {escaped(os.readlink(files[index]))}; is that mounted?)"
            raise BadImageError(f"cannot read the image {name(index)}: {reason}") from error

    def name(index: int) -> str:
        return escaped(str(files[index]))  # bytes of a name need not be text, and a name may hold escape sequences

    return LazyImages(read, np.asarray(labels, dtype=np.int64), domains, name)
