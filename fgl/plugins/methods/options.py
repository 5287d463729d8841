"""Options of the built-in methods."""

from __future__ import annotations

from pydantic import Field

from fgl.contracts.options import Options


class RoundsOptions(Options):
    """Rounds after the one-shot model."""

    rounds: int = Field(5, ge=1, le=100_000, description="rounds of local training after the one-shot model")
    server_epochs: int = Field(
        5, ge=0, description="passes of the server over the synthetic set after each round; 0: no fine-tuning"
    )
