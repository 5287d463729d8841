"""Options of the aggregation rules."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from fgl.contracts.options import Options


class TrimmedMeanOptions(Options):
    """Leaves out the extremes of each number."""

    short_option: ClassVar[str] = "trim"

    trim: int = Field(
        1, ge=1, description="values left out at each end of each number; more than twice as many updates are needed"
    )

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        return {"trim": _whole(text, "the values left out at each end (trimmed-mean:2)")}


class KrumOptions(Options):
    """Keeps the updates that have the nearest neighbors."""

    short_option: ClassVar[str] = "hostile"

    hostile: int = Field(
        1, ge=1, description="hostile clients that a round may have, f; at least 2f + 3 updates are needed"
    )
    keep: int = Field(
        1, ge=1, description="updates that are averaged, m of multi-Krum; at most n - f - 2 of n; 1: Krum itself"
    )

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        return {"hostile": _whole(text, "the hostile clients of a round (krum:2)")}


class NormClipOptions(Options):
    """Bounds the length of each update."""

    short_option: ClassVar[str] = "max_norm"

    max_norm: float | None = Field(
        None, gt=0, description="largest L2 norm of the change of the weights; null: `factor` times the round's median"
    )
    factor: float = Field(
        1.0,
        gt=0,
        description="largest norm, in median norms of the round: of the weights without `max_norm`, and always of "
        "buffers and of the algorithm's own arrays",
    )

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        try:
            return {"max_norm": float(text)}
        except ValueError:
            raise ValueError("expected a number after the colon, the largest norm (norm-clip:2.5)") from None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_norm is None and self.factor > 100:
            raise ValueError("expected a factor of at most 100, or a max_norm: beyond that nothing is bounded")
        return self


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected a whole number after the colon, {what}") from None
