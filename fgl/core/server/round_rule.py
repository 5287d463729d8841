"""What an aggregation rule did in a round, as the report holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRule:
    """What the rule of `rounds.aggregation` did to a round's updates."""

    name: str
    """Of the rule."""
    left_out: list[str]
    """Clients whose updates have no part in the result. Empty for rules that look at each number by itself."""
    scaled: dict[str, float]
    """Client → the factor by which its update was scaled down."""
    refused: str = ""
    """Why there were too few updates for the rule, so that the model stayed as it was; empty where there were not."""
