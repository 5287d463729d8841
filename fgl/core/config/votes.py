"""The section `votes`: clients' images vote for candidates that the server proposes (docs/votes.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fgl.contracts.options import Options
from fgl.core.config.defaults import VOTING_SPACE

MAX_CANDIDATES = 1000
_Share = Annotated[float, Field(gt=0, le=1)]


class VotesOptions(Options):
    """Rounds of votes in the place of uploads: what is synthesized follows from public texts and noisy votes alone."""

    rounds: int = Field(0, ge=0, le=1000, description="rounds of votes; 0: none, clients send uploads")
    candidates: int = Field(16, ge=1, le=MAX_CANDIDATES, description="texts of a class that a round puts to the vote")
    pictures: int = Field(4, ge=1, le=1000, description="pictures of each candidate, whose features are averaged")
    epsilon: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="what all rounds together may reveal: (ε, δ)-differential privacy, δ being privacy.delta; null: as "
        "`sigma` says, or no noise and no guarantee",
    )
    sigma: float | None = Field(
        None,
        ge=0.25,
        le=10_000,
        allow_inf_nan=False,
        description="standard deviation of the noise on each number of a round, in votes, instead of `epsilon`",
    )
    level: Literal["image", "client"] = Field(
        "image", description="what the guarantee is about: one image more or less, or one client more or less"
    )
    noise: Literal["each", "sum"] = Field(
        "each",
        description="each: every client's file has all of the noise, and no one has to be trusted; sum: each has its "
        "share, and only the sum has all of it: for secure aggregation outside fgl",
    )
    max_images: int = Field(
        100_000, ge=1, description="most images of a client for one candidate; a vote with a larger number is refused"
    )
    threshold: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="votes below this many standard deviations of the noise count as none",
    )
    variation: Literal["grammar", "none", "img2img"] = Field(
        "grammar",
        description="candidates of the next round: grammar: the best, and others that differ from one of them in one "
        "phrase; none: the same again, and the votes of all rounds are summed; img2img: the best, and variations of "
        "their pictures, from which the images of the run are varied too",
    )
    strength: list[_Share] = Field(
        [0.8, 0.4],
        min_length=2,
        max_length=2,
        description="how far pictures are varied (img2img) in the second round, and for the images in the end, with "
        "equal steps between: above 0, at most 1, where nothing is left of the original",
    )
    space: str = Field(
        VOTING_SPACE,
        min_length=1,
        description="feature space in which images are compared with candidates; one that does not learn from images",
    )
    names: list[str] | None = Field(
        None,
        min_length=1,
        description="what a class may be, where class names say nothing; null: each class is what it is called",
    )
    styles: list[str] = Field(
        [], description="what the prompt strategy may put in the place of a domain, such as drawing styles"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> VotesOptions:
        if self.epsilon is not None and self.sigma is not None:
            raise ValueError("expected epsilon or sigma, not both: each determines the other")
        return self

    def strength_at(self, number: int) -> float:
        """How far pictures are varied in a round, from 2; one more than there are rounds: for the images in the end."""
        first, last = self.strength
        return last if self.rounds == 1 else first + (last - first) * (number - 2) / (self.rounds - 1)

    @property
    def private(self) -> bool:
        """Whether there is noise."""
        return self.epsilon is not None or self.sigma is not None
