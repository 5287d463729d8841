"""Options of the built-in federations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fgl.contracts.options import Options


class LocalOptions(Options):
    """Options of `local`: clients on this machine."""

    isolation: Literal["none", "process"] = Field(
        "none", description="none: clients share this process; process: each runs in a process of its own"
    )
    timeout: float = Field(3600.0, gt=0, description="longest time that a client's process may take, in seconds")
