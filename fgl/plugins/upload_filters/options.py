"""Options of the upload filters."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

import fgl
from fgl.contracts.options import ModelRef, Options
from fgl.errors import ConfigError


class AggregateOptions(Options):
    """Combines the rows of one client as an aggregator combines those of all clients at the server."""

    short_option: ClassVar[str] = "aggregator"

    aggregator: str = Field("class-mean", description="aggregator to run at each client on its own upload")
    options: dict[str, Any] = Field(default_factory=dict, description="options of that aggregator")

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.inner()
        except ConfigError as error:
            raise ValueError("; ".join(map(str, error.problems))) from None
        return self

    def inner(self) -> Options:
        """The options of the aggregator."""
        return fgl.options_of("aggregator", self.aggregator, **self.options)

    def models(self) -> tuple[ModelRef, ...]:
        return self.inner().models()

    def files(self) -> tuple[str, ...]:
        return self.inner().files()


class ClipOptions(Options):
    """Bounds how much one row can say, as Gaussian noise that is added afterwards presupposes."""

    short_option: ClassVar[str] = "max_norm"

    max_norm: float = Field(
        gt=0, description="largest L2 norm of a row, over all of its elements; larger ones are scaled"
    )
    arrays: list[str] | None = Field(
        None, min_length=1, description="names of the arrays to clip; null: all that are not shared by rows"
    )

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        try:
            return {"max_norm": float(text)}
        except ValueError:
            raise ValueError("expected a number after the colon, the largest norm of a row (clip:30)") from None


class MinSamplesOptions(Options):
    """Keeps small counts, which single out samples, from being sent."""

    short_option: ClassVar[str] = "samples"

    samples: int = Field(5, ge=1, description="fewest samples of a class for which its rows are sent")

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        try:
            return {"samples": int(text)}
        except ValueError:
            raise ValueError("expected a whole number after the colon, the fewest samples (min-samples:5)") from None


class GaussianNoiseOptions(Options):
    """Gaussian noise with a price, which each client's ledger records (docs/privacy.md)."""

    short_option: ClassVar[str] = "epsilon"

    epsilon: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="epsilon of one upload, at delta; give this or sigma"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="delta of one upload, far below 1 / images of a client")
    sigma: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="standard deviation of the noise by the sensitivity, for epsilon"
    )
    level: Literal["image", "client"] = Field(
        "image",
        description="who is protected: image, whether one image was there (moments of features); client, whether all "
        "of a client's rows were others (rows of any kind)",
    )
    max_norm: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="largest L2 norm of a class's mean row, at the level of clients"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.epsilon is None) == (self.sigma is None):
            raise ValueError("expected epsilon or sigma, one of both (gaussian-noise:4)")
        return self

    @classmethod
    def from_text(cls, text: str) -> dict[str, Any]:
        try:
            return {"epsilon": float(text)}
        except ValueError:
            raise ValueError("expected a number after the colon, the epsilon of an upload (gaussian-noise:4)") from None
