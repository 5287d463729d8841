"""Datasets and partitioners: labelled images, and who holds which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from fgl.contracts.arrays import Labels, Pixels


class ImageSet(Protocol):
    """Labelled images that are decoded when asked for."""

    @property
    def labels(self) -> Labels:
        """int64 [n], each an index into the dataset's class names."""

    @property
    def domains(self) -> Sequence[str] | None:
        """The domain of each sample, or None where the dataset has none."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Decode one sample to RGB. Raises BadImageError, which names it."""

    def name(self, index: int) -> str:
        """What a person would call this sample: a path, or a file and row."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Some samples of an ImageSet, by position."""

    base: ImageSet
    indices: Sequence[int]

    @property
    def labels(self) -> Labels:
        return self.base.labels[list(self.indices)]

    @property
    def domains(self) -> Sequence[str] | None:
        domains = self.base.domains
        return None if domains is None else [domains[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        return self.base.image(self.indices[index])

    def name(self, index: int) -> str:
        return self.base.name(self.indices[index])


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a dataset says of itself.

    class_names: in label order. domains: sorted, empty where there are none. digest: sha256 over everything that
    determines its samples. skipped: unreadable images left out, by name (only with skip_bad_images). notes: what a
    person should know of how it was read, in a sentence each: files that were passed over, images that come out dark.
    """

    name: str
    class_names: tuple[str, ...]
    domains: tuple[str, ...]
    digest: str
    licence: str = "not stated"
    attribution: str = ""
    source: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledPixels:
    """Decoded images of one size: uint8 [n, h, w, 3] and int64 [n]."""

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


class Dataset(Protocol):
    """Labelled images in up to three splits: `train` (what clients hold), `test` (real, touched once), and `public`
    (what a generator was trained on, where the dataset knows it)."""

    def info(self) -> DatasetInfo:
        """Raises DataError where there is nothing to read."""

    def split(self, name: str) -> ImageSet | None:
        """The split `name`, or None where the dataset has no such split."""


class Partitioner(Protocol):
    """Divides the training samples among clients."""

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Client id → sample positions, disjoint, each list sorted. labels: int64 [n]; domains: n names or None.

        Raises PartitionError, which says which option to change."""


# An id becomes a file name, at the server as at the client.
CLIENT_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
