"""Options of the classifiers: what to build, how to train it, how to augment its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from fgl.contracts.options import ModelRef, Options, Revision

PRETRAINED_FILES = (
    "config.json",
    "README.md",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
"""The files of a pretrained model that are pulled from the Hub: no pickles, no code."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # The authors' published recipe (arXiv 2306.16064).
    "paper": {
        "image_size": 224, "eval_resize": 256, "epochs": 120, "batch_size": 128,
        "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4, "schedule": "constant",
        "crop_scale": (0.08, 1.0), "crop_ratio": (0.75, 4 / 3), "flip": True,
        "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
    },
    # Short training of a network without pretraining on small images; docs/classifiers.md has the measurements.
    "small": {
        "image_size": 64, "epochs": 14, "batch_size": 32,
        "optimizer": "adamw", "lr": 4e-3, "momentum": 0.9, "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.15,
        "crop_scale": (0.8, 1.0), "crop_ratio": (0.9, 1.1), "flip": True,
    },
}  # fmt: skip


_ONE_NETWORK = "a round's models are averaged and must be of one network; set it for the classifier as a whole"


class AugmentationOptions(Options):
    """How training images are augmented and all images normalized. Zero, false and (1, 1) turn an augmentation off."""

    crop_scale: tuple[float, float] = Field(
        (1.0, 1.0), strict=False, description="random crop: smallest and largest share of the image's area, 0 to 1"
    )
    crop_ratio: tuple[float, float] = Field(
        (1.0, 1.0), strict=False, description="random crop: smallest and largest width/height relative to the image's"
    )
    flip: bool = Field(False, description="mirror left and right, each image with probability 1/2")
    quarter_turns: bool = Field(
        False, description="turn by 0, 90, 180 or 270 degrees: with flip, all 8 symmetries; only where there is no up"
    )
    brightness: float = Field(0.0, ge=0, lt=1, description="largest relative change of brightness, 0 to 1")
    contrast: float = Field(0.0, ge=0, lt=1, description="largest relative change of contrast, 0 to 1")
    saturation: float = Field(0.0, ge=0, le=1, description="largest relative change of saturation, 0 to 1")
    blur: float = Field(
        0.0, ge=0, le=8, description="standard deviation of a Gaussian blur, pixels; half of the images get part of it"
    )
    noise: float = Field(
        0.0, ge=0, le=1, description="largest standard deviation of Gaussian noise, on a scale of 0 to 1 for pixels"
    )
    cutout: float = Field(0.0, ge=0, lt=1, description="side of a square set to the mean, relative to the image's")
    mean: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.5), strict=False, description="normalization: subtracted from each channel, pixels on 0 to 1"
    )
    std: tuple[float, float, float] = Field(
        (0.25, 0.25, 0.25), strict=False, description="normalization: divides each channel, pixels on 0 to 1"
    )

    @model_validator(mode="after")
    def _ranges(self) -> AugmentationOptions:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale: got {self.crop_scale}; expected two numbers with 0 < first <= second <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio: got {self.crop_ratio}; expected two positive numbers, the smaller first")
        if min(self.std) <= 0:
            raise ValueError(f"std: got {self.std}; expected positive numbers")
        return self


class ClassifierOptions(AugmentationOptions):
    """What to build and how to train it. A preset fills in every option that is not given."""

    fixed_in_rounds: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("architecture", "config", "pretrained", "revision"), _ONE_NETWORK),
        "epochs": "set rounds.{part}_epochs instead: passes in a round",
        "max_steps": "set rounds.{part}_epochs instead",
        "selection_slack": "nothing is selected in a round: its last epoch counts",
    }

    preset: Literal["none", "paper", "small"] = Field(
        "none", description="recipe for options that are not given: paper (224 px, 120 epochs) or small (64 px, short)"
    )
    architecture: str | None = Field(
        None, description="transformers model_type to build from scratch, such as resnet, convnext or vit"
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="overrides of the architecture's transformers configuration"
    )
    pretrained: str | None = Field(
        None, description="folder or Hub id of a model to start from, instead of architecture; its head is replaced"
    )
    revision: Revision | None = Field(None, description="commit, tag or branch of a pretrained model on the Hub")
    image_size: int = Field(224, ge=8, le=2048, description="height and width that the network sees, pixels")
    eval_resize: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="test images: resize the shorter side to this, pixels, and cut image_size from the middle; "
        "null: resize to image_size",
    )
    epochs: int = Field(30, ge=1, description="passes over the training set")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    batch_size: int = Field(
        128, ge=2, description="images per step; an epoch is divided into even batches of about this size"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd or adamw")
    lr: float = Field(0.01, gt=0, description="learning rate at its peak")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd; first beta of adamw")
    weight_decay: float = Field(2e-4, ge=0, description="weight decay, on all parameters")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant", description="course of the learning rate after the warm-up: constant, or down to zero"
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="share of the steps over which the learning rate rises from zero"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="probability mass spread over all classes")
    mixup: float = Field(
        0.0,
        ge=0,
        description="blend each image and its label with another's, with a share drawn from Beta(mixup, mixup)",
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        description="paste a rectangle of another image, its area and label by a share from Beta(cutmix, cutmix); with "
        "mixup too, each batch uses one of the two at random",
    )
    selection_slack: float = Field(
        0.0,
        ge=0,
        le=10,
        description="number of standard errors by which a later epoch's validation top-1 may be below the best one and "
        "still be selected; 0: select the best",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of a moving average of the weights; the average is tested and kept",
    )
    dtype: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="number format of the forward pass; auto: bf16 if the device is fast at it. Weights are fp32",
    )
    channels_last: bool = Field(True, description="memory layout of convolutions; faster on most devices")

    def models(self) -> tuple[ModelRef, ...]:
        """The pretrained model, if there is one."""
        return () if self.pretrained is None else (ModelRef(self.pretrained, self.revision, files=PRETRAINED_FILES),)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", cls.model_fields["preset"].default)
        return {**PRESETS.get(preset, {}), **given} if isinstance(preset, str) else given

    @model_validator(mode="after")
    def _one_source(self) -> ClassifierOptions:
        if (self.architecture is None) == (self.pretrained is None):
            raise ValueError("expected exactly one of architecture (from scratch) and pretrained (from weights)")
        if self.pretrained is not None and self.config:
            raise ValueError("config: only for architecture; a pretrained model brings its own configuration")
        if self.eval_resize is not None and self.eval_resize < self.image_size:
            raise ValueError(f"eval_resize: got {self.eval_resize}; expected at least image_size ({self.image_size})")
        return self
