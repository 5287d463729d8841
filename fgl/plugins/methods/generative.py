"""Federated generative learning: in one round, with rounds after it, with learned prompts. Source: arXiv 2306.16064."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgl.plugins.methods.options import AdaptedOptions, LearnedOptions, RoundsOptions, VotesOptions


class OneShot:
    """One communication round: prompts up, a synthetic set, a classifier trained on it.

    It sets nothing: this is what fgl does by default."""

    def configuration(self) -> Mapping[str, object]:
        return {}


class Rounds:
    """Rounds of local training at the clients and fine-tuning at the server after the one-shot model."""

    def __init__(self, options: RoundsOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {"rounds": {"count": self.options.rounds, "server_epochs": self.options.server_epochs}}


class Learned:
    """Rows that clients learn against the frozen denoiser, in place of encoded texts."""

    def __init__(self, options: LearnedOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {"prompt_strategy": {"name": "learned", **self.options.model_dump(mode="json")}}


class Votes:
    """Clients' images vote for texts that the server proposes; noisy counts are all that leaves."""

    def __init__(self, options: VotesOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {"prompt_strategy": {"name": "diversified"}, "votes": self.options.model_dump(mode="json")}


class Adapted:
    """Clients adapt the generator before it synthesizes; only low-rank adapters cross."""

    def __init__(self, options: AdaptedOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        options = self.options
        averaged = options.adapters == "shared" or options.rounds > 1
        factors = options.factors or ("up" if averaged else "both")
        return {"adaptation": {"kind": "lora", **options.model_dump(mode="json"), "factors": factors}}
