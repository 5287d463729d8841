"""Datasets and partitioners: labelled images, and which client holds which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL import Image

    from fgl.contracts.arrays import Labels, Pixels


class ImageSet(Protocol):
    """Labelled images that are decoded on demand."""

    @property
    def labels(self) -> Labels:
        """Class ids, int64 [n]: indices into the dataset's class names."""

    @property
    def domains(self) -> Sequence[str] | None:
        """The domain of each sample, or None if the dataset has no domains."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Decode one sample to RGB. Raises BadImageError, which names the sample."""

    def name(self, index: int) -> str:
        """A name for this sample that a person can look up: a path, or a file and row."""


@runtime_checkable
class SupportsKinds(Protocol):
    """An ImageSet that can tell how its images are stored; `fgl datasets check` counts it."""

    def kind(self, index: int) -> tuple[str, str, int, int]:
        """(format, mode, width, height) of one sample as it is stored, such as ("JPEG", "RGB", 640, 480)."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Some samples of an ImageSet."""

    base: ImageSet
    """The set that the samples are taken from."""

    indices: Sequence[int]
    """Their positions in `base`."""

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
    """A dataset's description of itself."""

    name: str
    """Name for reports."""

    class_names: tuple[str, ...]
    """Names of the classes, in label order."""

    domains: tuple[str, ...]
    """Names of the domains, sorted; empty if the dataset has none."""

    digest: str
    """sha256 over everything that determines its samples."""

    license: str = "not stated"
    """The license, as the source of the data states it."""

    attribution: str = ""
    """Whom to credit."""

    source: str = ""
    """Where the data comes from: an address, a Hub id or a path."""

    skipped: tuple[str, ...] = ()
    """Names of unreadable images that were left out (only with the option skip_bad_images)."""

    notes: tuple[str, ...] = ()
    """What a person should know about how the data was read, one sentence each: for example files that were passed
    over, or images that come out dark."""

    prompt_names: tuple[str, ...] = ()
    """What prompts call the classes, in label order: "red blood cell" for RBC. Empty: their class names."""

    @property
    def names_in_prompts(self) -> tuple[str, ...]:
        """What prompts call the classes, in label order."""
        return self.prompt_names or self.class_names


@dataclass(frozen=True, slots=True)
class LabelledPixels:
    """Decoded images of one size, with their labels."""

    pixels: Pixels
    """uint8 [n, h, w, 3]."""

    labels: Labels
    """Class ids, int64 [n]."""

    @property
    def values(self) -> Pixels:
        """The pixels, by the name that sets of every product have (`LabelledArrays`)."""
        return self.pixels

    def __len__(self) -> int:
        return len(self.labels)


class Dataset(Protocol):
    """Labelled images in up to three splits.

    `train`: what clients hold. `test`: real images, used once, for the final evaluation. `public`: what the generator
    was trained on, if the dataset knows.
    """

    def info(self) -> DatasetInfo:
        """Describe the dataset. Raises DataError if nothing can be read."""

    def split(self, name: str) -> ImageSet | None:
        """The split `name`, or None if the dataset has no such split."""


class Partitioner(Protocol):
    """Divides the training samples among clients."""

    def partition(self, labels: Labels, domains: Sequence[str] | None, seed: int) -> Mapping[str, list[int]]:
        """Assign samples to clients.

        Args:
            labels: Class ids of all training samples, int64 [n].
            domains: The domain of each sample, or None if the dataset has no domains.
            seed: Seed of everything that is drawn at random.

        Returns: Client id → sample positions, disjoint, each list sorted.

        Raises PartitionError, which says which option to change.
        """


CLIENT_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Pattern of a client id. Ids become file names, at the server and at the client."""
