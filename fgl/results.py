"""What `fgl.run`, `fgl.probe`, `fgl.compare`, `fgl.quality`, `fgl.audit` and `fgl.partition` return.

Each has the figures that one asks for first as attributes, and `to_dict()` with everything, as `--json` prints it.
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
    """data: everything, as `--json` prints it."""

    data: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `--json` prints it."""
        return copy.deepcopy(dict(self.data))


@dataclass(frozen=True)
class Pair:
    """One figure of synthetic images, and of as many other real images beside; None where it cannot be computed."""

    synthetic: float | None
    real: float | None


@dataclass(frozen=True)
class Probe(_Result):
    """How well a generator knows a domain. outlook: "unknown", "weak" or "known" (docs/quality.md). recognized: share
    of the clients' images that are nearest to the mean picture of their own class; chance: that of a guess. coverage,
    density, distance: over all clients."""

    outlook: str
    recognized: float | None
    chance: float
    coverage: Pair
    density: Pair
    distance: Pair


@dataclass(frozen=True)
class Quality(_Result):
    """The synthetic set beside held-out real images. closer: share of synthetic images nearer to a real one than all
    but 1 % of the held-out ones are. folder: where the tables lie."""

    folder: Path
    coverage: Pair
    density: Pair
    precision: Pair
    recall: Pair
    fid: Pair
    kid: Pair
    closer: float


@dataclass(frozen=True)
class Audit(_Result):
    """What a run gives away. membership, memorization, uploads: figures of each part, None where it was not measured;
    left_out: part → why. folder: where tables and pictures lie."""

    folder: Path
    membership: Mapping[str, Any] | None
    memorization: Mapping[str, Any] | None
    uploads: Mapping[str, Any] | None
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Partition(_Result):
    """Who holds what. samples: client → class name → number of images; domains: client → domain → the same, empty where
    the dataset has no domains."""

    class_names: tuple[str, ...]
    samples: Mapping[str, Mapping[str, int]]
    domains: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class MethodResult:
    """One row of a comparison. top1: mean and standard deviation over seeds, fractions. fgl_minus_this: how much better
    fgl is, (mean, low, high) of a 95 % interval; low and high None for a single seed, the whole None without fgl."""

    name: str
    title: str
    top1: tuple[float, float]
    fgl_minus_this: tuple[float, float | None, float | None] | None
    bytes_sent: int
    seconds: float


@dataclass(frozen=True)
class Comparison(_Result):
    """Methods side by side. folder: where table and figures lie."""

    folder: Path
    methods: Mapping[str, MethodResult]
