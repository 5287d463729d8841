"""Options of MOON."""

from __future__ import annotations

from fgl import Options
from pydantic import Field


class MoonOptions(Options):
    mu: float = Field(1.0, ge=0, description="weight of the contrastive term in the loss; 0: FedAvg")
    temperature: float = Field(0.5, gt=0, description="temperature of the contrast: lower is sharper")
