"""Options of the heads on features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fgl.contracts.options import Options


class LinearOptions(Options):
    """A linear layer trained on features by gradient descent (AdamW, cosine decay)."""

    epochs: int = Field(30, ge=1, description="passes over the training set")
    batch_size: int = Field(128, ge=1, description="items of a step")
    lr: float = Field(0.01, gt=0, description="highest learning rate")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW; not of the bias")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all classes")
    standardize: bool = Field(
        True,
        description="train on features shifted and scaled to mean 0 and variance 1; not with algorithms that compare "
        "weights of clients (fedprox, scaffold). The weights that are kept are of the features as they are",
    )


class AnalyticOptions(Options):
    """Ridge regression of one-hot labels on features, in closed form."""

    ridge: float = Field(
        1e-3,
        gt=0,
        le=1e6,
        description="strength of the penalty, as a multiple of the mean variance of a feature times the number of "
        "images",
    )


class GaussianOptions(Options):
    """Discriminant of Gaussians with a mean for each class and one covariance for all, in closed form."""

    covariance: Literal["full", "diagonal"] = Field(
        "full",
        description="full: linear discriminant analysis; diagonal: naive Bayes with shared variances",
    )
    shrinkage: float = Field(
        1e-2,
        gt=0,
        le=1,
        description="share of the covariance that is replaced by its mean variance, alike in all directions",
    )
    priors: Literal["counts", "uniform"] = Field(
        "counts", description="of a class: its share of the clients' images, or the same for all"
    )
