"""What `fgl.run`, `fgl.adapt`, `fgl.probe`, `fgl.compare`, `fgl.quality`, `fgl.audit` and `fgl.partition` return.

The most important figures are attributes; `to_dict()` has everything, as `--json` prints it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RunResult(dict[str, Any]):
    """What `fgl run --json` prints, as a dict; its first figures are attributes as well. Fractions lie from 0 to 1."""

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self["run_dir"])

    @property
    def top1(self) -> float:
        """Top-1 accuracy on the real test images: of the selected epoch, or after rounds of the last model."""
        return float(self["result"]["selected"]["top1"])

    @property
    def per_class(self) -> dict[str, float]:
        """Class name → top-1 accuracy."""
        return dict(self["result"]["per_class"])

    @property
    def bytes_sent(self) -> int:
        """Bytes of all accepted uploads."""
        return int(self["upload"]["bytes_total"])

    @property
    def refused(self) -> dict[str, str]:
        """Client → why its upload was refused."""
        return {client: one["reason"] for client, one in self["upload"]["refused"].items()}

    @property
    def baselines(self) -> dict[str, float]:
        """Baseline → top-1 accuracy of its row."""
        return {one["name"]: one["top1"] for one in self["baselines"]}

    @property
    def controls(self) -> dict[str, float]:
        """The old name of `baselines`."""
        warnings.warn("RunResult.controls is called baselines now", DeprecationWarning, stacklevel=2)
        return self.baselines

    @property
    def digest(self) -> str:
        """Of the synthetic set."""
        return str(self["synthetic"]["digest"])

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, independent of this one."""
        return copy.deepcopy(dict(self))


@dataclass(frozen=True)
class _Result:
    """What every result has."""

    data: Mapping[str, Any]
    """Everything, as `--json` prints it."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `--json` prints it."""
        return copy.deepcopy(dict(self.data))


@dataclass(frozen=True)
class Pair:
    """A figure of the synthetic images and that of as many other real images; None if it cannot be computed."""

    synthetic: float | None
    real: float | None


@dataclass(frozen=True)
class Probe(_Result):
    """How well a generator knows a domain. Figures are over all clients."""

    outlook: str
    """"unknown", "weak" or "known"; see docs/quality.md."""
    recognized: float | None
    """Share of the clients' images that are nearest to the mean picture of their own class, 0 to 1."""
    chance: float
    """The share that a guess would recognize."""
    coverage: Pair
    density: Pair
    distance: Pair
    """To the nearest real image."""


@dataclass(frozen=True)
class Quality(_Result):
    """The synthetic set beside held-out real images."""

    folder: Path
    """Holds the tables."""
    coverage: Pair
    density: Pair
    precision: Pair
    recall: Pair
    fid: Pair
    kid: Pair
    closer: float
    """Share of synthetic images that are nearer to a real image than all but 1 % of the held-out images are."""


@dataclass(frozen=True)
class Audit(_Result):
    """What a run reveals."""

    folder: Path
    """Holds tables and pictures."""
    membership: Mapping[str, Any] | None
    """Figures of membership inference, None if it was not measured."""
    memorization: Mapping[str, Any] | None
    """Figures of memorized images, None if they were not measured."""
    uploads: Mapping[str, Any] | None
    """What uploads reveal, None if it was not measured."""
    left_out: Mapping[str, str]
    """Part that was not measured → why."""


@dataclass(frozen=True)
class AdaptedGenerator(_Result):
    """A generator that has learned from images."""

    folder: Path
    """Holds the weights, their card and samples."""
    generator: Mapping[str, Any]
    """The section `generator` of a configuration that uses it."""
    steps: int
    """Optimizer steps."""
    held_out_loss: tuple[float, float] | None
    """Before and after, None if no images were held out."""


@dataclass(frozen=True)
class Partition(_Result):
    """Which client holds what."""

    class_names: tuple[str, ...]
    samples: Mapping[str, Mapping[str, int]]
    """Client → class name → number of images."""
    domains: Mapping[str, Mapping[str, int]]
    """Client → domain → number of images; empty if the dataset has no domains."""


@dataclass(frozen=True)
class MethodResult:
    """One row of a comparison."""

    name: str
    title: str
    """What a reader calls it."""
    top1: tuple[float, float]
    """Mean and standard deviation over seeds, fractions."""
    fgl_minus_this: tuple[float, float | None, float | None] | None
    """How much better fgl is: mean, low and high of a 95 % interval. Low and high are None for a single seed; all of it
    is None without fgl."""
    bytes_sent: int
    """Both ways, all clients and rounds."""
    seconds: float


@dataclass(frozen=True)
class Comparison(_Result):
    """Methods side by side."""

    folder: Path
    """Holds the table and the figures."""
    methods: Mapping[str, MethodResult]
    """Name → its row, in the order of the table."""
