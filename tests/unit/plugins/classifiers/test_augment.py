"""The geometry and the colour of augmentation, on real tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fgl.plugins.classifiers.augment import Augmenter, crop_matrix, gaussian_blur, to_float, warp
from fgl.plugins.classifiers.options import AugmentationOptions

CPU = torch.device("cpu")
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def pictures(count: int = 4, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


def matrix(width: float = 1, height: float = 1, x: float = 0, y: float = 0, mirrored: bool = False, turns: int = 0):
    numbers = (torch.tensor([value]) for value in (float(width), float(height), float(x), float(y)))
    return crop_matrix(*numbers, torch.tensor([mirrored]), torch.tensor([turns]))


def augmenter(size: int = 16, seed: int = 0, eval_resize: int | None = None, **options: object) -> Augmenter:
    return Augmenter(AugmentationOptions(**{**PLAIN, **options}), size, CPU, seed, eval_resize)


def test_whole_crop_returns_the_same_pixels():
    images = to_float(pictures(1))
    torch.testing.assert_close(warp(images, matrix(), 16), images, atol=1e-5, rtol=0)


def test_mirroring_equals_flipping_the_tensor():
    images = to_float(pictures(1))
    torch.testing.assert_close(warp(images, matrix(mirrored=True), 16), images.flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turning_equals_rot90_then_flipping(turns: int, mirrored: bool):
    images = to_float(pictures(1))
    expected = torch.rot90(images, turns, (2, 3))
    expected = expected.flip(3) if mirrored else expected
    torch.testing.assert_close(warp(images, matrix(turns=turns, mirrored=mirrored), 16), expected, atol=1e-5, rtol=0)


def test_a_quarter_crop_at_its_own_size_is_a_slice_of_the_image():
    images = to_float(pictures(1))
    cropped = warp(images, matrix(width=0.5, height=0.5, x=0.5, y=-0.5), 8)
    torch.testing.assert_close(cropped, images[:, :, :8, 8:], atol=1e-5, rtol=0)


def test_a_turned_crop_of_a_wide_area_stays_inside_it():
    images = torch.zeros(1, 3, 16, 16)
    images[:, :, :, 4:12] = 1.0
    cropped = warp(images, matrix(width=0.5, height=1.0, turns=1), 16)
    # one sample beside the edge mixes with what is outside; the rest is inside
    assert cropped[:, :, 1:-1, :].min() == 1.0


def test_without_variations_training_images_are_the_normalized_source():
    pixels = pictures()
    made = augmenter(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)).train(pixels)
    torch.testing.assert_close(made, (to_float(pixels) - 0.5) / 0.25, atol=1e-4, rtol=0)


def test_random_crops_stay_inside_the_image_and_have_the_asked_area():
    drawn = augmenter(crop_scale=(0.3, 0.6), crop_ratio=(0.75, 1.33), flip=True, quarter_turns=True).draw(2000)
    reach = drawn[:, :, :2].abs().sum(2)  # each row of a turned, mirrored crop has one entry that is not zero
    assert (reach + drawn[:, :, 2].abs()).max() <= 1 + 1e-5
    area = reach.prod(1)
    assert 0.3 - 1e-5 <= area.min() < 0.33
    assert 0.57 < area.max() <= 0.6 + 1e-5


def test_flip_mirrors_about_half_and_leaves_top_and_bottom():
    drawn = augmenter(flip=True).draw(2000)
    assert 0.45 < (drawn[:, 0, 0] < 0).float().mean() < 0.55
    assert (drawn[:, 1, 1] == 1).all()


def test_all_eight_symmetries_occur_with_flip_and_turns_and_only_four_without_flip():
    def kinds(flip: bool) -> int:
        return len(augmenter(flip=flip, quarter_turns=True).draw(500)[:, :, :2].sign().unique(dim=0))

    assert kinds(True) == 8
    assert kinds(False) == 4


def test_draws_follow_the_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    options = {
        "crop_scale": (0.4, 1.0),
        "flip": True,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
        "blur": 1.0,
        "noise": 0.1,
        "cutout": 0.3,
    }
    first, again, other = (augmenter(seed=seed, **options).train(pictures()) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_brightness_scales_each_image_by_one_factor_within_its_bound():
    pixels = pictures(64)
    factors = augmenter(brightness=0.2).train(pixels) / to_float(pixels).clamp(min=1e-6)
    factors = torch.where(to_float(pixels) > 0, factors, factors.amax((1, 2, 3), keepdim=True)).flatten(1)
    torch.testing.assert_close(factors.amin(1), factors.amax(1), atol=1e-3, rtol=0)
    assert 0.8 - 1e-3 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.2 + 1e-3


def test_contrast_keeps_the_mean_of_each_image():
    pixels = pictures(16)
    made = augmenter(contrast=0.5).train(pixels)
    torch.testing.assert_close(made.mean((1, 2, 3)), to_float(pixels).mean((1, 2, 3)), atol=1e-4, rtol=0)
    assert (made.std((1, 2, 3)) / to_float(pixels).std((1, 2, 3)) - 1).abs().max() > 0.2


def test_saturation_leaves_grey_images_alone():
    pixels = pictures()[..., :1].expand(-1, -1, -1, 3)
    torch.testing.assert_close(augmenter(saturation=1.0).train(pixels), to_float(pixels), atol=1e-5, rtol=0)


def test_blur_spreads_a_point_as_a_gaussian_and_keeps_flat_areas():
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1.0
    blurred = gaussian_blur(point, 1.5)
    place = torch.arange(21.0) - 10
    variance = (blurred[0, 0].sum(0) * place**2).sum()
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    assert variance.sqrt() == pytest.approx(1.5, abs=0.2)  # the tails beyond two deviations are cut
    flat = torch.full((1, 3, 5, 5), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, 4.0), flat)


def test_cutout_sets_one_square_to_the_mean():
    made = augmenter(size=32, cutout=0.5).train(torch.full((50, 32, 32, 3), 255, dtype=torch.uint8))
    share = (made == 0).all(1).float().mean((1, 2))
    assert share.max() <= 0.3
    assert share.min() > 0.05


def test_large_sources_are_filtered_before_they_are_sampled():
    # A checkerboard of single pixels has no meaning at a tenth of its size: aliasing would leave black and white.
    board = ((torch.arange(320)[:, None] + torch.arange(320)) % 2 * 255).to(torch.uint8)[None, :, :, None]
    made = augmenter(size=32, crop_scale=(0.5, 1.0)).train(board.expand(2, -1, -1, 3))
    torch.testing.assert_close(made, torch.full_like(made, 0.5), atol=0.05, rtol=0)


def test_evaluation_resizes_the_shorter_side_and_cuts_the_middle():
    pixels = np.zeros((1, 32, 64, 3), dtype=np.uint8)
    pixels[:, :, 24:40] = 255
    own = augmenter(size=16, eval_resize=32)
    made = own.evaluate(torch.from_numpy(own.prepare(pixels)))
    assert made.shape == (1, 3, 16, 16)
    assert made.min() == 1.0


def test_ranges_are_checked():
    for wrong in (
        {"crop_scale": (0.9, 0.5)},
        {"crop_scale": (0.0, 1.0)},
        {"crop_ratio": (2.0, 1.0)},
        {"std": (0, 1, 1)},
    ):
        with pytest.raises(ValidationError, match=f"{next(iter(wrong))}: got"):
            AugmentationOptions(**wrong)
