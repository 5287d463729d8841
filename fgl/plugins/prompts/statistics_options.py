"""Options of the prompt strategies that send statistics of features."""

from __future__ import annotations

from pydantic import Field

from fgl.contracts.options import Options


class MomentsOptions(Options):
    """Options of `moments`; the generator's say which features these are of."""


class ClassGaussiansOptions(Options):
    """Options of `class-gaussians`; the generator's say which features these are of, and of what shape a covariance."""

    components: int = Field(
        1, ge=1, le=64, description="Gaussians for each class, fitted by EM; fewer where a client has few images of it"
    )
    variance_floor: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="smallest variance of a feature within a Gaussian, as a share of the mean variance of all of the "
        "client's features: without one, the Gaussian of a single image is that image",
    )
