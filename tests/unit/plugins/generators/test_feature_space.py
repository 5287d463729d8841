"""The feature space of a generator: which it is, what it sees, and what of it must be the same everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fgl
from fgl.contracts.preparation import Preparation
from fgl.errors import ConfigError, ModelError
from fgl.plugins.generators.class_gaussians import ClassGaussians
from fgl.plugins.generators.feature_options import ClassGaussiansOptions, MomentsOptions
from fgl.plugins.generators.moments import Moments
from tests.helpers.image_models import save_image_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_image_model(tmp_path_factory.mktemp("model"))


def of_model(model: Path, **options: object) -> Moments:
    return Moments(MomentsOptions.of({"model": str(model), **options}))


def test_a_model_states_its_size_and_its_features_do_not_depend_on_where_it_lies(model: Path, tmp_path: Path) -> None:
    import shutil

    there = shutil.copytree(model, tmp_path / "copy")
    one, other = of_model(model), of_model(there)
    (size,) = {one.preparation().crop, other.preparation().crop}
    assert one.preparation() == Preparation(size, size, size)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)
    features = one.image_features("cpu").features(pixels)
    assert features.shape == (3, one.width)
    np.testing.assert_array_equal(features, other.image_features("cpu").features(pixels))


def test_another_model_or_option_is_another_encoder(model: Path) -> None:
    spaces = [
        of_model(model),
        of_model(model, image_size=20),
        of_model(model, space_options={"pooling": "mean"}),
        Moments(MomentsOptions()),
        Moments(MomentsOptions(space_options={"seed": 1})),
        Moments(MomentsOptions(space="pixels")),
    ]
    encoders = [space.declare().encoder for space in spaces]
    assert len(set(encoders)) == len(encoders)
    assert ClassGaussians(ClassGaussiansOptions()).declare().encoder == encoders[3], "the same space of another method"


def test_what_a_client_loads_is_counted(model: Path) -> None:
    loaded = of_model(model).footprint(whole=True)
    assert loaded.parameters > 0
    assert loaded.size_bytes == sum(file.stat().st_size for file in model.glob("*.safetensors"))
    assert Moments(MomentsOptions()).footprint(whole=True).size_bytes == 0


def test_a_model_is_pulled_whole_at_clients() -> None:
    (use,) = MomentsOptions(space="dinov2").models()
    assert use.model == "facebook/dinov2-small"
    assert use.client_files == use.files
    assert MomentsOptions().models() == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"space": "trained"}, ConfigError, r"generator\.space: got 'trained'; expected a space that is not trained"),
        ({"space": "nowhere"}, ConfigError, "unknown features 'nowhere'"),
        ({"space": "pixels", "space_options": {"sizes": 3}}, ConfigError, "unknown option"),
        ({"space": "image-model", "model": "/no/such/folder"}, ModelError, "/no/such/folder"),
    ],
    ids=["must be trained", "unknown", "wrong option", "no such model"],
)
def test_a_space_that_cannot_be_used_is_one_clear_line(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Moments(MomentsOptions.of(options)).declare()


def test_neither_text_is_encoded_nor_anything_drawn_from_moments() -> None:
    generator = Moments(MomentsOptions(space="pixels"))
    with pytest.raises(ModelError, match="encodes no prompts"):
        generator.encoder("cpu").encode([fgl.Prompt(0, "a river")])
    assert generator.encoder("cpu").truncated([fgl.Prompt(0, "a river")]) == 0
    with pytest.raises(ModelError, match="synthesizes nothing"):
        generator.synthesizer("cpu")
