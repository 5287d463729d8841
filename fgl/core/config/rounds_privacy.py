"""The section `rounds.privacy`: updates that a client may send at a stated price (docs/privacy.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fgl.contracts.options import Options


class RoundsPrivacyOptions(Options):
    """Each client clips its update and adds noise to it before it leaves; the ledger has a line a round."""

    level: Literal["client"] = Field(
        "client", description="who is protected: client, all that a client's images did to its updates"
    )
    clip: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="largest L2 norm of a client's change of all trained weights"
    )
    epsilon: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="what all rounds of a client together may cost, at privacy.delta; another rounds.count is then "
        "another noise, and a training of its own",
    )
    noise_multiplier: float | None = Field(
        None,
        ge=1e-3,
        le=1e6,
        allow_inf_nan=False,
        description="standard deviation of each client's noise by `clip`, in each round, instead of `epsilon`",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> RoundsPrivacyOptions:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("expected epsilon or noise_multiplier, one of both")
        return self
