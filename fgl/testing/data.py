"""What the contract tests work on, for an author's own tests too: images, a client, uploads, a training context."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fgl.contracts.aggregator import ClientUpload
from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import ImageSet, LabelledPixels
from fgl.contracts.generator import ArraySpec, UploadSchema
from fgl.contracts.product import LabelledArrays, Product
from fgl.contracts.prompts import ClientContext, Encoded, Prompt

if TYPE_CHECKING:
    from fgl.contracts.arrays import Labels


CLASS_NAMES = ("river", "airplane", "forest", "wrist watch")
DOMAINS = ("photo", "sketch")
GENERATOR = "0" * 64
"""A generator's fingerprint."""


@dataclass(frozen=True, slots=True)
class DrawnImages:
    """Labelled RGB images of 48x32 pixels, drawn from a seed: gradients, stripes, discs and noise in two colours.

    labels: int64 [n]. domains: n names or None.
    """

    labels: Labels
    domains: Sequence[str] | None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"ward-7/patient-{index:04d}.png"

    def image(self, index: int) -> Image.Image:
        draw = np.random.default_rng([self.seed, index])
        y, x = np.mgrid[0:32, 0:48]
        shapes = (
            x / 48,
            (np.sin((x + y) * draw.uniform(0.2, 1.0)) + 1) / 2,
            ((x - 24) ** 2 + (y - 16) ** 2 < draw.uniform(20, 120)).astype(float),
            draw.random((32, 48)),
        )
        low, high = draw.integers(0, 256, (2, 3))
        mix = shapes[index % len(shapes)][..., None]
        return Image.fromarray((low * (1 - mix) + high * mix).astype(np.uint8))


ENCODER = "e" * 64
"""Fingerprint of a text encoder."""
SCHEMA = UploadSchema(
    (ArraySpec("prompt_embeds", (4, 8)), ArraySpec("negative_prompt_embeds", (4, 8), shared=True, optional=True)),
    ENCODER,
)
"""What uploads of `client_upload` and the arrays of `encode_by_digest` hold."""


def encode_by_digest(prompts: Sequence[Prompt]) -> Encoded:
    """prompt_embeds, float32 [n, 4, 8]: a function of the text alone, for strategies that ask for an encoding."""
    rows = []
    for prompt in prompts:
        seed = int.from_bytes(hashlib.sha256(prompt.text.encode()).digest()[:8], "little")
        rows.append(np.random.default_rng(seed).standard_normal((4, 8), dtype=np.float32))
    return Encoded({"prompt_embeds": np.stack(rows) if rows else np.zeros((0, 4, 8), dtype=np.float32)})


def client_context(
    images: ImageSet, class_names: tuple[str, ...] = CLASS_NAMES, private: Path | None = None
) -> ClientContext:
    """A client that holds `images`. private: the folder for what it keeps; None: it can keep nothing."""
    return ClientContext(
        "client-0",
        images,
        class_names,
        encode_by_digest,
        seed=7,
        private=private,
        declaration=SCHEMA,
        generator_name="by-digest",
    )


def client_upload(client_id: str, seed: int, rows: int = 6, pool: int = 8) -> ClientUpload:
    """A valid upload: prompt_embeds float16 [n, 4, 8] drawn from `pool` rows that all clients share, so that some rows
    of different clients are equal; a shared negative prompt, which every third row lacks."""
    common = np.random.default_rng(1234)
    embeds = common.standard_normal((pool, 4, 8)).astype(np.float16)
    negative = common.standard_normal((1, 4, 8)).astype(np.float16)
    draw = np.random.default_rng(seed)
    picks = draw.choice(pool, size=rows, replace=False)
    return ClientUpload(
        client_id=client_id,
        round=0,
        encoder=ENCODER,
        arrays={"prompt_embeds": embeds[picks], "negative_prompt_embeds": negative},
        indices={"negative_prompt_embeds": np.where(picks % 3 == 2, -1, 0).astype(np.int32)},
        class_id=(picks % 3).astype(np.int64),
        weight=draw.integers(1, 40, rows) / 4,
        domain=tuple(DOMAINS[pick % 2] for pick in picks.tolist()),
        guidance_scale=np.where(picks == pool - 1, 3.0, np.nan),
    )


def fit_context(class_names: tuple[str, ...] = CLASS_NAMES) -> FitContext:
    """How to train on the CPU, from a seed."""
    return FitContext(class_names=class_names, seed=3, device="cpu")


def labelled_pixels(count: int = 48, side: int = 32, classes: int = 4, seed: int = 0) -> LabelledPixels:
    """Squares of noise around one colour for each class: easy to tell apart, but not for an untrained model."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    colors = np.random.default_rng(99).integers(60, 196, (classes, 3))
    pixels = colors[labels][:, None, None, :] + draw.normal(0, 30, (count, side, side, 3))
    return LabelledPixels(pixels.clip(0, 255).astype(np.uint8), labels)


def labelled_arrays(count: int = 48, width: int = 6, classes: int = 4, seed: int = 0) -> LabelledArrays:
    """Points around one mean for each class, float32 [count, width]: easy to tell apart."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    means = np.random.default_rng(99).normal(0, 2, (classes, width))
    values = means[labels] + draw.normal(0, 0.5, (count, width))
    return LabelledArrays(values.astype(np.float32), labels)


def features_context(class_names: tuple[str, ...] = CLASS_NAMES, width: int = 6) -> FitContext:
    """How to fit a classifier of features on the CPU, from a seed."""
    return replace(fit_context(class_names), product=Product("features", (width,), "float32"))
