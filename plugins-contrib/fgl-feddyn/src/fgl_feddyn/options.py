"""Options of FedDyn."""

from __future__ import annotations

from fgl import Options
from pydantic import Field


class FedDynOptions(Options):
    alpha: float = Field(0.01, gt=0, description="strength of the regularization")
