"""A generator: a foundation model that encodes prompts at clients and synthesizes images at the server.

It starts as a built-in one with an option of its own. Replace its methods one by one: see the protocols
`fgl.Generator`, `fgl.Encoder` and `fgl.Synthesizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fgl
from fgl import Options
from pydantic import Field


class MineOptions(Options):
    """What a user can set under `generator:`."""

    steps: int = Field(4, ge=1, description="Denoising steps of an image.")


class Mine:
    """Encoder and synthesizer agree on the arrays that `declare` lists."""

    def __init__(self, options: MineOptions) -> None:
        self.base: Any = fgl.create("generator", "tiny", num_inference_steps=options.steps, guidance_scale=1.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def describe(self) -> Mapping[str, object]:
        """JSON for the report."""
        return {**self.base.describe(), "based_on": "tiny"}
