"""The denoiser's latents and loss are those that its model was trained with, for each target and each layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionXLPipeline, UNet2DConditionModel

from fgl.contracts.generator import SupportsDenoiser
from fgl.contracts.prompts import Prompt
from fgl.errors import ModelError
from fgl.plugins.datasets.bundled import Bundled
from fgl.plugins.datasets.options import BundledOptions
from fgl.plugins.generators.loading import autocast_dtype
from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from tests.helpers.pipelines import POOLED, SIDE, TOKENS, WIDTH, XL_WIDTH, save_pipeline, save_xl_pipeline


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _pixels(count: int, side: int = SIDE) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _generator(folder: Path, **options: Any) -> StableDiffusion:
    return StableDiffusion(StableDiffusionOptions(model=str(folder), dtype="fp32", **options))


def _alphas() -> torch.Tensor:
    """The schedule of the pipelines of tests, as their papers define it."""
    return torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)


@pytest.mark.parametrize("target", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_the_mean_squared_error_of_what_the_model_predicts(tmp_path: Path, target: Any) -> None:
    folder = save_pipeline(tmp_path, prediction_type=target)
    denoiser = _generator(folder, scheduler="EulerDiscreteScheduler").denoiser("cpu")
    latents, steps = denoiser.latents(_pixels(3)), torch.tensor([0, 400, 999])
    embeds = torch.randn(3, TOKENS, WIDTH, generator=_rng(1))
    loss = denoiser.loss(latents, {"prompt_embeds": embeds}, _rng(7), steps)

    noise = torch.randn(latents.shape, generator=_rng(7))
    kept, spread = (values.view(-1, 1, 1, 1) for values in (_alphas()[steps].sqrt(), (1 - _alphas()[steps]).sqrt()))
    wanted = {"epsilon": noise, "v_prediction": kept * noise - spread * latents, "sample": latents}[target]
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    with torch.no_grad():
        guess = unet(kept * latents + spread * noise, steps, embeds).sample
    torch.testing.assert_close(loss, (guess - wanted).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_an_xl_denoiser_receives_the_pooled_embedding_and_the_sizes_of_its_pipeline(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path, scheduler="DDIMScheduler")
    options = StableDiffusionXLOptions(model=str(folder), dtype="fp32", original_size=(40, 50), target_size=None)
    denoiser = StableDiffusionXL(options).denoiser("cpu")
    latents, steps = denoiser.latents(_pixels(2)), torch.tensor([10, 700])
    embeds = torch.randn(2, TOKENS, WIDTH + XL_WIDTH, generator=_rng(1))
    pooled = torch.randn(2, POOLED, generator=_rng(2))
    loss = denoiser.loss(latents, {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}, _rng(7), steps)

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    ids = pipeline._get_add_time_ids((40, 50), (0, 0), (SIDE, SIDE), torch.float32, POOLED).repeat(2, 1)
    noise = torch.randn(latents.shape, generator=_rng(7))
    added = {"text_embeds": pooled, "time_ids": ids}
    with torch.no_grad():
        noisy = pipeline.scheduler.add_noise(latents, noise, steps)
        guess = pipeline.unet(noisy, steps, embeds, added_cond_kwargs=added).sample
    torch.testing.assert_close(loss, (guess - noise).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match="pooled_prompt_embeds"):
        denoiser.loss(latents, {"prompt_embeds": embeds}, _rng(7))


def test_latents_of_a_shifted_autoencoder_are_standardized(tmp_path: Path) -> None:
    folder = save_xl_pipeline(tmp_path, vae="kl", latents_mean=[0.5, -1, 2, 0])
    denoiser = StableDiffusionXL(StableDiffusionXLOptions(model=str(folder), dtype="fp32")).denoiser("cpu")
    pixels = _pixels(2)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    with torch.no_grad():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        likely = vae.encode(images).latent_dist.mode()
    shift = torch.tensor([0.5, -1, 2, 0]).view(1, -1, 1, 1)
    torch.testing.assert_close(denoiser.latents(pixels), (likely - shift) * vae.config.scaling_factor / 0.5)


def test_a_distilled_denoiser_receives_its_guidance_scale(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path, time_cond_proj_dim=8)
    embeds = {"prompt_embeds": torch.randn(2, TOKENS, WIDTH, generator=_rng(1))}
    losses = []
    for scale in (2.0, 8.0):
        denoiser = _generator(folder, guidance_scale=scale).denoiser("cpu")
        losses.append(denoiser.loss(denoiser.latents(_pixels(2)), embeds, _rng()))
    assert not torch.equal(*losses)


def test_timesteps_are_spread_over_the_schedule(tmp_path: Path) -> None:
    denoiser = _generator(save_pipeline(tmp_path)).denoiser("cpu")
    seen: list[torch.Tensor] = []
    denoiser.module.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    latents = denoiser.latents(_pixels(1)).expand(10, -1, -1, -1)
    denoiser.loss(latents, {"prompt_embeds": torch.zeros(10, TOKENS, WIDTH)}, _rng(3))
    assert sorted((seen[0] // 100).tolist()) == list(range(10))
    assert seen[0].tolist() != sorted(seen[0].tolist())


def test_images_of_the_size_that_is_kept_are_enlarged_and_others_rejected(tmp_path: Path) -> None:
    denoiser = _generator(save_pipeline(tmp_path), save_size=8).denoiser("cpu")
    assert denoiser.latents(_pixels(1, 8)).shape == denoiser.latents(_pixels(1)).shape
    with pytest.raises(ModelError, match=r"\[12, 12, 3\]; expected \[8, 8, 3\]"):
        denoiser.latents(_pixels(1, 12))
    with pytest.raises(ModelError, match="no images"):
        denoiser.latents(_pixels(0))


def test_gradients_are_never_computed_in_fp16() -> None:
    assert autocast_dtype("fp16", torch.device("cpu")) == torch.bfloat16
    assert autocast_dtype("fp32", torch.device("cpu")) == torch.float32


def test_the_embedded_model_knows_which_class_its_images_are_of() -> None:
    generator = StableDiffusion(StableDiffusionOptions(model="embedded:tiny", dtype="fp32", guidance_scale=1.0))
    assert isinstance(generator, SupportsDenoiser)
    denoiser, encoder = generator.denoiser("cpu"), generator.encoder("cpu")
    data = Bundled(BundledOptions(subset="eurosat"))
    info, images = data.info(), data.split("train")
    assert images is not None
    labels = np.asarray(images.labels)[:32]
    pixels = np.stack([np.asarray(images.image(index)) for index in range(32)])
    latents = denoiser.latents(pixels)

    vae = AutoencoderTiny.from_pretrained(Path(__file__).parents[4] / "fgl/plugins/generators/tiny", subfolder="vae")
    with torch.no_grad():
        again = vae.float().decode(latents).sample.add(1).mul(127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(again - pixels).mean() < 10, "images do not survive their latents"

    def loss(shift: int) -> float:
        names = [info.class_names[(label + shift) % len(info.class_names)] for label in labels]
        arrays, _ = encoder.encode([Prompt(0, name) for name in names])
        with torch.no_grad():
            embeds = {"prompt_embeds": torch.from_numpy(arrays["prompt_embeds"])}
            return float(denoiser.loss(latents, embeds, _rng(5)).mean())

    assert loss(0) < loss(3)


@pytest.mark.parametrize("target", ["epsilon", "v_prediction", "sample"])
def test_the_latents_it_makes_out_are_those_that_its_loss_is_of(tmp_path: Path, target: Any) -> None:
    """A guess without error would give a loss of zero and the latents themselves; the error of one follows from that of
    the other."""
    denoiser = _generator(save_pipeline(tmp_path, prediction_type=target)).denoiser("cpu")
    latents, steps = denoiser.latents(_pixels(3)), torch.tensor([0, 400, 900])
    arrays = {"prompt_embeds": torch.randn(3, TOKENS, WIDTH, generator=_rng(1))}
    noise = torch.randn(latents.shape, generator=_rng(7))
    kept = denoiser.signal[steps].view(-1, 1, 1, 1)
    spread = (1 - kept**2).sqrt()
    torch.testing.assert_close(denoiser.signal.square(), _alphas().float(), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        made_out = denoiser.predict(kept * latents + spread * noise, steps, arrays)
        loss = denoiser.loss(latents, arrays, _rng(7), steps)
    factor = {"epsilon": kept / spread, "v_prediction": 1 / spread, "sample": torch.ones_like(kept)}[target]
    error = ((made_out - latents) * factor).square().mean((1, 2, 3))
    torch.testing.assert_close(error, loss, rtol=1e-3, atol=1e-4)


def test_images_survive_the_way_to_latents_and_back(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    whole, shrunk = (_generator(folder, **options).denoiser("cpu") for options in ({}, {"save_size": SIDE // 2}))
    vae = AutoencoderTiny.from_pretrained(folder, subfolder="vae")
    latents = whole.latents(_pixels(2))
    with torch.no_grad():
        image = vae.decode(latents / vae.config.scaling_factor).sample
    expected = ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.abs(whole.pixels(latents).astype(int) - expected).max() <= 1
    assert shrunk.pixels(latents).shape == (2, SIDE // 2, SIDE // 2, 3)
