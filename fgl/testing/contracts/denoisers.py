"""What a generator's denoiser must hold to, where the generator has one that can be trained against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fgl.contracts.generator import Denoiser, Encoder, Generator, SupportsDenoiser
from fgl.testing.randomness import global_state_untouched

if TYPE_CHECKING:
    from fgl.contracts.arrays import Pixels
    from fgl.contracts.prompts import Prompt

_DEVICE = "cpu"


class DenoiserTests:
    """Part of `GeneratorContract`; skipped for generators without the method `denoiser`."""

    @staticmethod
    def make() -> Generator:
        raise NotImplementedError

    @pytest.fixture
    def denoiser(self) -> Denoiser:
        generator = self.make()
        if not isinstance(generator, SupportsDenoiser):
            pytest.skip("no method `denoiser`")
        return generator.denoiser(_DEVICE)

    @pytest.fixture
    def pixels(self) -> Pixels:
        """Five images of noise at the generator's size."""
        return np.random.default_rng(0).integers(0, 256, (5, *image_size(self.make()), 3), dtype=np.uint8)

    def test_latents_follow_the_images_and_have_no_gradient(self, denoiser: Denoiser, pixels: Pixels) -> None:
        straight, turned = denoiser.latents(pixels), denoiser.latents(pixels[::-1].copy())
        assert len(straight) == len(pixels)
        assert not straight.requires_grad
        np.testing.assert_allclose(straight.numpy(), turned.numpy()[::-1], rtol=0, atol=1e-3)

    def test_the_loss_is_each_images_and_its_draws_are_the_generators(
        self, denoiser: Denoiser, pixels: Pixels, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        arrays, latents = _tensors(encoder, prompts), denoiser.latents(pixels)
        with global_state_untouched():
            losses = [denoiser.loss(latents, arrays, _rng(seed)).detach().numpy() for seed in (1, 1, 2)]
        assert losses[0].shape == (len(pixels),)
        assert losses[0].dtype == np.float32
        assert np.isfinite(losses[0]).all()
        assert (losses[0] >= 0).all()
        assert losses[0].tobytes() == losses[1].tobytes(), "equal states of rng gave other losses"
        assert losses[0].tobytes() != losses[2].tobytes(), "another state of rng gave the same losses"

    def test_the_loss_takes_the_timesteps_of_the_caller(
        self, denoiser: Denoiser, pixels: Pixels, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        import torch

        arrays, latents = _tensors(encoder, prompts), denoiser.latents(pixels)
        steps = [torch.full((len(pixels),), step) for step in (0, denoiser.timesteps - 1)]
        first, last = (denoiser.loss(latents, arrays, _rng(1), step).detach().numpy() for step in steps)
        assert np.isfinite([first, last]).all()
        assert first.tobytes() != last.tobytes()

    def test_gradients_reach_what_images_are_conditioned_on_and_no_frozen_weight(
        self, denoiser: Denoiser, pixels: Pixels, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        arrays = {name: array.requires_grad_() for name, array in _tensors(encoder, prompts).items()}
        denoiser.loss(denoiser.latents(pixels), arrays, _rng(1)).sum().backward()
        gradients = {name: array.grad for name, array in arrays.items()}
        assert all(gradient is not None for gradient in gradients.values()), "an array has no gradient"
        assert any(bool(gradient.any()) for gradient in gradients.values()), "all gradients are zero"
        weights = list(denoiser.module.parameters())
        assert weights
        assert not any(weight.requires_grad for weight in weights), "weights are to be frozen as loaded"
        assert all(weight.grad is None for weight in weights)

    def test_its_weights_train_once_they_are_unfrozen(
        self, denoiser: Denoiser, pixels: Pixels, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        denoiser.module.requires_grad_(True)
        denoiser.loss(denoiser.latents(pixels), _tensors(encoder, prompts), _rng(1)).sum().backward()
        assert any(weight.grad is not None and bool(weight.grad.any()) for weight in denoiser.module.parameters())

    def test_what_is_loaded_is_counted(self, denoiser: Denoiser) -> None:
        weights = list(denoiser.module.parameters())
        assert denoiser.parameters() >= sum(weight.numel() for weight in weights)
        assert denoiser.size_bytes() >= sum(weight.numel() * weight.element_size() for weight in weights)

    def test_noisy_latents_are_made_out_the_better_the_less_noise_there_is(
        self, denoiser: Denoiser, pixels: Pixels, encoder: Encoder, prompts: list[Prompt]
    ) -> None:
        import torch

        arrays, latents = _tensors(encoder, prompts), denoiser.latents(pixels)
        signal = torch.as_tensor(denoiser.signal)
        assert signal.shape == (denoiser.timesteps,)
        assert bool((signal[:-1] >= signal[1:]).all()), "there is more signal at a later step"
        steps = torch.zeros(len(pixels), dtype=torch.int64)
        kept = signal[0]
        noisy = kept * latents + (1 - kept**2).sqrt() * torch.randn(latents.shape, generator=_rng(3))
        with torch.no_grad():
            clean = denoiser.predict(noisy, steps, arrays)
        assert clean.shape == latents.shape
        assert bool(torch.isfinite(clean).all())
        # nearly all is signal at the first step, whatever the denoiser has learned
        scale = float(latents.std()) + 1e-6
        assert float((clean - latents).square().mean().sqrt()) < scale, "the latents are lost where there is no noise"

    def test_latents_become_images_of_the_stated_size(self, denoiser: Denoiser, pixels: Pixels) -> None:
        images = denoiser.pixels(denoiser.latents(pixels))
        assert images.dtype == np.uint8
        assert images.shape == pixels.shape
        alone = np.concatenate([denoiser.pixels(denoiser.latents(pixels[k : k + 1])) for k in range(len(pixels))])
        assert np.abs(images.astype(int) - alone.astype(int)).max() <= 2, "an image depends on the others of its batch"


def _tensors(encoder: Encoder, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What each prompt conditions an image on, as torch tensors."""
    import torch

    arrays, indices = encoder.encode(prompts)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if name not in indices}


def _rng(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)


def image_size(generator: Generator) -> tuple[int, int]:
    found: Any = generator.describe().get("image_size")
    assert found is not None, "describe() lacks image_size"
    assert len(found) == 2, f"image_size is {found!r}, expected (height, width)"
    height, width = (int(side) for side in found)
    assert (height, width) == tuple(found), f"image_size is {found!r}, expected whole numbers of pixels"
    assert min(height, width) > 0
    return height, width
