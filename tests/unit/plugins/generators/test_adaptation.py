"""What an adapted denoiser saves is what the generator then is, and what does not fit is one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fgl.contracts.adaptation import AdaptContext, AdapterSpec, CaptionedImages
from fgl.contracts.prompts import Prompt
from fgl.errors import DivergedError, ModelError
from fgl.plugins.generators.options import LORA_FILE, StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from tests.helpers.images import conditioning_of, paint, shard_of
from tests.helpers.pipelines import SIDE, save_pipeline, save_xl_pipeline

PROMPTS = [Prompt(0, "dark"), Prompt(1, "light")]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("sd"))


def _generator(model: Path, **options: Any) -> StableDiffusion:
    given = {"dtype": "fp32", "num_inference_steps": 2, "guidance_scale": 1.0, "batch_size": 2, **options}
    return StableDiffusion(StableDiffusionOptions(model=str(model), **given))


def _images(generator: StableDiffusion, count: int = 12) -> CaptionedImages:
    """Dark and light squares."""
    labels = np.arange(count) % 2
    draw = np.random.default_rng(0)
    pixels = (draw.integers(0, 60, (count, SIDE, SIDE, 3)) + 180 * labels[:, None, None, None]).astype(np.uint8)
    arrays = {
        name: np.asarray(array)
        for name, array in generator.encoder("cpu").encode(PROMPTS)[0].items()
        if not name.startswith("negative")
    }
    return CaptionedImages(pixels, labels, arrays, labels, [np.array([0]), np.array([1])], np.ones(2))


def _context(steps: int = 3, **given: Any) -> AdaptContext:
    return AdaptContext(seed=0, device="cpu", steps=steps, **given)


def _painted(generator: StableDiffusion, synthesizer: Any) -> Any:
    arrays, indices = generator.encoder("cpu").encode(PROMPTS)
    batches = synthesizer.synthesize(shard_of([1, 2]), conditioning_of(arrays, indices, 2), lambda count: None)
    return np.concatenate([batch.pixels for batch in batches])


@pytest.mark.parametrize("kind", ["lora", "full", "scratch"])
def test_the_saved_generator_makes_the_images_of_the_one_in_training(folder: Path, tmp_path: Path, kind: Any) -> None:
    base = _generator(folder)
    adapted = base.adaptation(AdapterSpec(kind, rank=2, lr=0.01)).fit(_images(base), None, _context())
    ((option, place),) = adapted.save(tmp_path, "last").items()
    again = _generator(folder, lora=str(tmp_path)) if option == "lora" else _generator(tmp_path / place)
    arrays, indices = again.encoder("cpu").encode(PROMPTS)
    batches = again.synthesizer("cpu").synthesize(
        shard_of([1, 2]), conditioning_of(arrays, indices, 2), lambda count: None
    )
    saved = np.concatenate([batch.pixels for batch in batches]).astype(int)
    trained = _painted(base, adapted.synthesizer("last")).astype(int)
    assert np.abs(saved - trained).max() <= 1  # a LoRA is fused by another path of the same sums
    assert np.abs(trained - paint(base, PROMPTS)[:2].astype(int)).max() > 1
    assert again.fingerprint() != base.fingerprint()
    assert again.encoding()["encoder"] == base.encoding()["encoder"]


def test_what_clients_encode_is_the_same_for_the_adapted_generator(folder: Path, tmp_path: Path) -> None:
    base = _generator(folder)
    base.adaptation(AdapterSpec("full")).initial(_context()).save(tmp_path, "last")
    assert _generator(tmp_path).declare() == base.declare()


def test_it_learns(folder: Path) -> None:
    base = _generator(folder)
    images = _images(base)
    context = _context(30, evaluate_every=10)
    history = base.adaptation(AdapterSpec("full", lr=0.005, batch_size=12)).fit(images, images, context).history()
    losses = [entry["held_out_loss"] for entry in history]
    assert losses[-1] < 0.9 * losses[0]


def test_training_ends_early_where_the_held_out_loss_does_not_fall(folder: Path) -> None:
    base = _generator(folder)
    images = _images(base)
    spec = AdapterSpec("full", lr=1e-12, ema=0.0)
    adapted = base.adaptation(spec).fit(images, images, _context(50, evaluate_every=1, patience=2))
    assert len(adapted.history()) < 20


def test_minutes_end_a_training_too(folder: Path) -> None:
    base = _generator(folder)
    adapted = base.adaptation(AdapterSpec("full")).fit(
        _images(base), None, AdaptContext(seed=0, device="cpu", minutes=1e-6)
    )
    assert [entry["step"] for entry in adapted.history()] == [1]


def test_a_length_must_be_given(folder: Path) -> None:
    base = _generator(folder)
    with pytest.raises(ValueError, match="epochs, steps or minutes"):
        base.adaptation(AdapterSpec("full")).fit(_images(base), None, AdaptContext(seed=0, device="cpu"))


def test_a_learning_rate_that_is_far_too_high_is_named(folder: Path) -> None:
    base = _generator(folder)
    with pytest.raises(DivergedError, match="lower lr"):
        base.adaptation(AdapterSpec("full", lr=1e30)).fit(_images(base), None, _context(5))


def test_a_lora_states_its_base_and_is_refused_beside_another_one(folder: Path, tmp_path: Path) -> None:
    other, lora = save_pipeline(tmp_path / "other", seed=1), tmp_path / "lora"
    lora.mkdir()
    _generator(folder).adaptation(AdapterSpec("lora", rank=2)).initial(_context()).save(lora, "last")
    with safe_open(lora / LORA_FILE, "np") as file:
        assert set(json.loads(file.metadata()["fgl_base"])) == {"model", "unet"}
    _generator(folder, lora=str(lora)).declare()
    for call in ("declare", "fingerprint"):
        with pytest.raises(ModelError, match=r"was trained beside the denoiser of sd\d* .* is another one") as caught:
            getattr(_generator(other, lora=str(lora)), call)()
        assert "\n" not in str(caught.value)
        assert str(folder) not in str(caught.value)


def test_a_lora_whose_base_is_illegible_is_refused(folder: Path, tmp_path: Path) -> None:
    _generator(folder).adaptation(AdapterSpec("lora", rank=2)).initial(_context()).save(tmp_path, "last")
    save_file(load_file(tmp_path / LORA_FILE), tmp_path / LORA_FILE, {"fgl_base": "[1]"})
    with pytest.raises(ModelError, match="does not say which model it is for"):
        _generator(folder, lora=str(tmp_path)).declare()


def test_a_lora_beside_another_lora_is_refused_and_all_weights_are_not(folder: Path, tmp_path: Path) -> None:
    _generator(folder).adaptation(AdapterSpec("lora", rank=2)).initial(_context()).save(tmp_path, "last")
    fused = _generator(folder, lora=str(tmp_path))
    with pytest.raises(ModelError, match="beside the one that the generator has"):
        fused.adaptation(AdapterSpec("lora")).check()
    fused.adaptation(AdapterSpec("full")).check()


def test_a_lora_of_an_xl_model_is_loaded_by_it(tmp_path: Path) -> None:
    model, lora = save_xl_pipeline(tmp_path / "xl"), tmp_path / "lora"
    lora.mkdir()
    options = {"model": str(model), "dtype": "fp32", "num_inference_steps": 2, "batch_size": 2}
    base = StableDiffusionXL(StableDiffusionXLOptions(**options))
    adapted = base.adaptation(AdapterSpec("lora", rank=2, lr=0.01)).fit(_images(base), None, _context(2))
    adapted.save(lora, "last")
    again = StableDiffusionXL(StableDiffusionXLOptions(**options, lora=str(lora)))
    difference = paint(again, PROMPTS).astype(int) - paint(base, PROMPTS).astype(int)
    assert np.abs(difference).max() > 1
