"""Options of the built-in methods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fgl.contracts.options import Options


class RoundsOptions(Options):
    """Rounds after the one-shot model."""

    rounds: int = Field(5, ge=1, le=100_000, description="rounds of local training after the one-shot model")
    server_epochs: int = Field(
        5, ge=0, description="passes of the server over the synthetic set after each round; 0: no fine-tuning"
    )


class LearnedOptions(Options):
    """Rows that clients learn; see the prompt strategy learned for all that it takes."""

    rows_per_class: int = Field(2, ge=1, le=1000, description="embeddings learned for each class of a client")
    steps: int = Field(300, ge=0, description="optimizer steps of a client, for all rows together")
    guidance_scale: float = Field(
        2.0,
        ge=0,
        le=100,
        description="guidance scale at synthesis; above 1, one more row is learned to lead away from",
    )


class AdaptedOptions(Options):
    """Rounds in which clients adapt the generator; see the section adaptation for all that it takes."""

    rounds: int = Field(1, ge=1, le=10_000, description="rounds in which the clients adapt the generator")
    local_steps: int = Field(100, ge=1, le=1_000_000, description="optimizer steps of a client in a round")
    batch_size: int = Field(32, ge=1, description="images of an optimizer step")
    rank: int = Field(8, ge=1, le=1024, description="rank of the low-rank adapters")
    adapters: Literal["per-client", "shared"] = Field(
        "per-client",
        description="per-client: after the last round each client's adapter makes the images of its rows; shared: all "
        "rounds are averaged",
    )
    factors: Literal["both", "up"] | None = Field(
        None,
        description="factors of the adapters that are trained; null: both if they stay the clients' own in the first "
        "round, up if they are averaged",
    )


class VotesOptions(Options):
    """Votes in the place of uploads; see the section votes for all that it takes."""

    rounds: int = Field(2, ge=1, le=1000, description="rounds of votes")
    candidates: int = Field(16, ge=1, le=1000, description="texts of a class that a round puts to the vote")
    pictures: int = Field(4, ge=1, le=1000, description="pictures of each candidate, whose features are averaged")
    epsilon: float | None = Field(
        4.0,
        gt=0,
        allow_inf_nan=False,
        description="what all rounds may reveal of an image, at privacy.delta; null: no noise, no guarantee",
    )


class FeatureOptions(Options):
    """The feature space of a head."""

    space: str = Field("random-filters", min_length=1, description="feature space; see the generator moments")
    model: str | None = Field(None, min_length=1, description="model of the space; see the generator moments")
    image_size: int | None = Field(
        None, ge=1, le=4096, description="side of the images that the space sees, pixels; see the generator moments"
    )


class FedPFTOptions(FeatureOptions):
    """The feature space, and the Gaussians that clients fit in it."""

    covariance: Literal["spherical", "diagonal", "full"] = Field("full", description="of each Gaussian")
    components: int = Field(1, ge=1, le=64, description="Gaussians for each class of a client")
