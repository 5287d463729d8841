"""Options of the prompt strategy `learned`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fgl.contracts.options import Options
from fgl.plugins.prompts.options import CLASS_TEMPLATE, check_class_template


class LearnedOptions(Options):
    """Options of `learned`: embeddings that a client optimizes against the frozen denoiser on its own images.

    Same options, images, model and number of threads: same bytes. Another number of threads rounds differently.
    """

    learn: Literal["row", "token"] = Field(
        "row",
        description="row: the whole embedding, the output of the text encoder. token: only the input embeddings of the "
        "class name's tokens, within the template, as in textual inversion: less can be expressed, and less carried.",
    )
    template: Annotated[str, AfterValidator(check_class_template)] = Field(
        CLASS_TEMPLATE, description="Text with {label} or {a label} whose embedding every row of a class starts from."
    )
    rows_per_class: int = Field(
        2,
        ge=1,
        le=1000,
        description="Embeddings learned for each class, one for each cluster of its images: more diverse images for a "
        "larger upload. A class has no more rows than a quarter of its images, and at least one.",
    )
    steps: int = Field(300, ge=0, description="Optimizer steps, for all rows together; 0: rows as they start.")
    batch_size: int = Field(
        32, ge=1, description="Images in a step, spread evenly over all rows. Memory is bounded separately."
    )
    lr: float = Field(
        0.1, gt=0, le=10, allow_inf_nan=False, description="Learning rate of Adam at its peak; it warms up and decays."
    )
    noise_power: float = Field(
        0.6,
        gt=0,
        le=4,
        allow_inf_nan=False,
        description="Noise levels of the steps: the timestep is the schedule's length times u to this power, with u "
        "uniform on 0 to 1. Below 1: more of high noise, which decides what an image shows; 1: as in training.",
    )
    guidance_scale: float = Field(
        2.0,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Guidance scale of the rows at synthesis. Above 1, one more row is learned from the images of all "
        "classes, and the images of each class are guided away from it.",
    )
    images_per_class: int | None = Field(
        500, ge=1, description="Most images of each class that are learned from, drawn by the client's seed; null: all."
    )
    holdout: float = Field(
        0.1,
        ge=0,
        le=0.5,
        allow_inf_nan=False,
        description="Fraction of the images of each row, 8 at most, that are not learned from: each row is kept as it "
        "was when their loss was lowest. A row of fewer images than 1/holdout is kept as it ends.",
    )
    patience: int = Field(
        3, ge=1, description="Stop after so many evaluations in which the loss on held-out images fell for no row."
    )
    evaluations: int = Field(
        10, ge=1, description="How often the loss on held-out images is computed, and the state is stored."
    )
