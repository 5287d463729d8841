"""Options of the federated algorithms."""

from __future__ import annotations

from pydantic import Field

from fgl.core.options import Options


class FedAvgOptions(Options):
    local_epochs: int = Field(5, ge=1, description="passes of each client over its own data in a round")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the clients that train in a round, at least one")
