"""Small real things that many tests need: images on disk, a real pipeline with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.hub import Hub

CLASSES = ("river", 'an "awkward" name', "林地")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionPipeline of the real classes, 16x16 pixels, random weights."""
    from tests.helpers.pipelines import save_pipeline

    return save_pipeline(tmp_path_factory.mktemp("pipeline") / "sd")


@pytest.fixture(scope="session")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BlipForConditionalGeneration of random weights, with tokenizer and image processor."""
    from tests.helpers.captioners import save_captioner

    return save_captioner(tmp_path_factory.mktemp("captioner") / "blip")


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT2LMHeadModel of random weights, with tokenizer."""
    from tests.helpers.captioners import save_writer

    return save_writer(tmp_path_factory.mktemp("writer") / "gpt2")


@pytest.fixture(scope="session")
def learnable(pipeline: Path) -> Callable[..., Any]:
    """Gives a ClientContext the generator of `pipeline`: its encoder, its declaration and its denoiser."""
    from dataclasses import replace

    from fgl.contracts.prompts import ClientContext, Encoded
    from fgl.plugins.generators.options import StableDiffusionOptions
    from fgl.plugins.generators.stable_diffusion import StableDiffusion

    generator = StableDiffusion(StableDiffusionOptions(model=str(pipeline), dtype="fp32"))
    encoder = generator.encoder("cpu")

    def give(context: ClientContext) -> ClientContext:
        return replace(
            context,
            encode=lambda prompts: Encoded(*encoder.encode(prompts)),
            declaration=generator.declare(),
            generator=lambda: generator,
            generator_name="stable-diffusion",
        )

    return give


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Write class folders (or domain/class folders) of small PNGs and return the folder."""

    def make(per_class: int = 24, classes: tuple[str, ...] = CLASSES, domains: tuple[str, ...] = ()) -> Path:
        root = tmp_path / "images"
        draw = np.random.default_rng(0)
        for domain in domains or ("",):
            for index, name in enumerate(classes):
                folder = root / domain / name
                folder.mkdir(parents=True)
                for number in range(per_class):
                    pixels = draw.integers(0, 120, (20, 24, 3)) + 60 * (index % 3)
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        return root

    return make


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hugging Face Hub of one's own, empty."""
    with Hub() as server:
        yield server


def changed(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others in their place; of a section, with other options beside its own."""
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base
