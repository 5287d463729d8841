"""The words that measure() finds for pictures whose look is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fgl.plugins.prompts.image_attributes import (
    BRIGHTNESS,
    COLOURS,
    LAYOUT,
    SIZE,
    TEXTURE,
    Attributes,
    measure,
    phrase,
    thumbnail,
)

Y, X = np.mgrid[0:SIZE, 0:SIZE]


def grey(lightness):
    """uint8 [32, 32, 3] from values in 0..1."""
    return np.repeat((np.clip(lightness, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def one(pixels):
    return measure([pixels])[0]


def plain(*rgb):
    return np.full((SIZE, SIZE, 3), rgb, dtype=np.uint8)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((210, 30, 40), "red"),
        ((50, 95, 185), "blue"),
        ((35, 65, 40), "dark green"),
        ((240, 150, 175), "pink"),
    ],
)
def test_a_plain_picture_has_one_colour_and_no_structure(rgb, name):
    found = one(plain(*rgb))
    assert found.colours == (name,)
    assert (found.texture, found.layout) == ("flat", "uniform")


def test_a_second_colour_is_named_from_a_fifth_of_the_picture_on():
    pixels = plain(250, 250, 250)
    pixels[:6] = (12, 12, 12)
    assert one(pixels).colours == ("white",)
    pixels[:7] = (12, 12, 12)
    assert one(pixels).colours == ("white", "black")


def test_brightness_runs_through_its_words():
    levels = [one(grey(np.full((SIZE, SIZE), level))).brightness for level in (0.02, 0.3, 0.45, 0.65, 0.98)]
    assert levels == list(BRIGHTNESS)


@pytest.mark.parametrize(
    ("wave", "layout"), [(X, "vertical lines"), (Y, "horizontal lines"), (X + Y, "diagonal lines")]
)
def test_stripes_are_named_by_the_way_the_lines_run(wave, layout):
    assert one(grey((np.sin(wave * 0.8) + 1) / 2)).layout == layout


def test_a_disc_on_a_plain_ground_is_a_centered_object():
    assert one(grey(((X - 16) ** 2 + (Y - 16) ** 2 < 80) * 0.8 + 0.1)).layout == "centered object"


def test_large_fields_are_a_patchwork_and_noise_is_scattered():
    draw = np.random.default_rng(0)
    fields = np.kron(draw.permutation(np.linspace(0.1, 0.9, 16)).reshape(4, 4), np.ones((8, 8)))
    assert one(grey(fields)).layout == "patchwork"
    noise = one(grey(draw.random((SIZE, SIZE))))
    assert (noise.layout, noise.texture) == ("scattered", "busy")


def test_more_contrast_is_more_texture():
    noise = np.random.default_rng(1).standard_normal((SIZE, SIZE))
    order = [TEXTURE.index(one(grey(0.5 + noise * scale)).texture) for scale in (0.0, 0.01, 0.02, 0.05, 0.3)]
    assert order == sorted(order)
    assert (order[0], order[-1]) == (0, len(TEXTURE) - 1)


def test_resolution_does_not_change_the_words():
    small = Image.fromarray(grey((np.sin(X * 0.4) + 1) / 2))
    large = small.resize((SIZE * 8, SIZE * 8), Image.Resampling.NEAREST)
    assert one(thumbnail(small)) == one(thumbnail(large))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_a_thumbnail_is_rgb_whatever_the_picture(mode):
    pixels = thumbnail(Image.new(mode, (50, 70)))
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)


def test_every_picture_gets_words_from_the_tables():
    draw = np.random.default_rng(2)
    for found in measure(draw.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)):
        assert set(found.colours) <= set(COLOURS)
        assert found.brightness in BRIGHTNESS
        assert found.texture in TEXTURE
        assert found.layout in LAYOUT


def test_a_phrase_has_a_part_for_each_attribute_in_the_order_asked():
    found = Attributes(("dark green", "slate"), "dark", "smooth", "diagonal lines")
    assert phrase(found) == ["dark green and slate", "dark", "smooth", "diagonal lines"]
    assert phrase(found, ["layout", "colours"]) == ["diagonal lines", "dark green and slate"]
    with pytest.raises(KeyError):
        phrase(found, ["weather"])
