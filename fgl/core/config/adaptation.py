"""The section `adaptation`: how a generator is adapted to images that it does not know (docs/adapting.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fgl.contracts.adaptation import AdapterSpec
from fgl.contracts.options import Options

DEFAULT_STEPS = 1000
"""Steps of `fgl adapt` where neither steps, epochs nor minutes are given."""


class AdaptationOptions(Options):
    """How the generator learns from images: by `fgl adapt` on images that are here, in rounds at the clients."""

    kind: Literal["lora", "full", "scratch"] = Field(
        "lora",
        description="what is trained: low-rank adapters (needs the extra lora), all weights of the denoiser, or all of "
        "them from random ones",
    )
    rank: int = Field(8, ge=1, le=1024, description="rank of the low-rank adapters")
    factors: Literal["both", "up"] = Field(
        "both",
        description="factors of the low-rank adapters that are trained; up: the other is fixed, the same for all, so "
        "that averages over clients are exact, in half of the bytes",
    )
    layers: Literal["all", "attention"] = Field(
        "all", description="layers of the denoiser that are trained, or have an adapter"
    )
    lr: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="learning rate of AdamW; null: the generator's own, which the report states",
    )
    batch_size: int | None = Field(
        None, ge=1, description="images of an optimizer step; null: the generator's own, which the report states"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's, decoupled from the gradient")
    ema: float = Field(
        0.99, ge=0, lt=1, description="decay of the moving average of the weights, which is what counts; 0: none"
    )
    mirror: bool = Field(True, description="train on mirrored images as often as on the images themselves")
    captions: Literal["class", "image"] = Field(
        "class",
        description="class: an image's caption is drawn from the prompts of its class and domain; image: the prompt "
        "strategy describes each image by itself, which takes longer",
    )
    split: Literal["train", "public"] = Field("train", description="the images that `fgl adapt` learns from")
    epochs: int | None = Field(None, ge=1, description="`fgl adapt`: passes over the images after which it ends")
    steps: int | None = Field(
        None,
        ge=1,
        description=f"`fgl adapt`: optimizer steps after which it ends; null: {DEFAULT_STEPS:,}, where neither epochs "
        "nor minutes are given",
    )
    minutes: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="`fgl adapt`: minutes of training after which it ends"
    )
    evaluate_every: int = Field(
        100, ge=1, description="`fgl adapt`: steps from one checkpoint, held-out loss and sheet of samples to the next"
    )
    held_out: float = Field(
        0.1, ge=0, lt=1, description="`fgl adapt`: share of each class that is not trained on, to select weights by"
    )
    patience: int | None = Field(
        5,
        ge=1,
        description="`fgl adapt`: held-out losses in a row without a new minimum after which it ends; null: none",
    )
    samples: int = Field(4, ge=0, le=100, description="`fgl adapt`: pictures of each class in a sheet of samples")
    rounds: int = Field(
        0, ge=0, le=10_000, description="`fgl run`: rounds in which the clients adapt the generator; 0: none"
    )
    local_steps: int = Field(40, ge=1, le=1_000_000, description="`fgl run`: optimizer steps of a client in a round")
    adapters: Literal["shared", "per-client"] = Field(
        "shared",
        description="`fgl run`: shared: all rounds average the clients' adapters; per-client: all but the last, after "
        "which each client's adapter stays its own, and makes the images of that client's rows",
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="`fgl run`: share of the clients that are asked in a round, at least one of them"
    )
    max_update_ratio: float = Field(
        20.0, ge=1, description="`fgl run`: as rounds.max_update_ratio, for the clients' adapters"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _known_as_from_scratch(cls, kind: object) -> object:
        return "scratch" if kind == "from-scratch" else kind

    def spec(self) -> AdapterSpec:
        """What the generator is asked for."""
        return AdapterSpec(
            kind=self.kind,
            rank=self.rank,
            factors=self.factors,
            layers=self.layers,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            ema=self.ema,
            mirror=self.mirror,
        )

    def length(self) -> dict[str, float | int | None]:
        """When `fgl adapt` ends: epochs, steps and minutes, at least one of them a number."""
        steps = self.steps
        if steps is None and self.epochs is None and self.minutes is None:
            steps = DEFAULT_STEPS
        return {"epochs": self.epochs, "steps": steps, "minutes": self.minutes}
