"""The built-in feature spaces keep the contract that third parties are tested against."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from fgl.contracts.options import Options
from fgl.plugins.features import fgl_feature_spaces
from fgl.plugins.features.classifier_space import TrainedSpace
from fgl.plugins.features.image_model import ImageModelSpace
from fgl.plugins.features.options import ImageModelOptions, PixelsOptions, RandomFiltersOptions, TrainedOptions
from fgl.plugins.features.pixels import PixelsSpace
from fgl.plugins.features.random_filters import RandomFiltersSpace
from fgl.testing.contracts import FeatureSpaceContract
from tests.helpers.image_models import save_image_model


class TestPixels(FeatureSpaceContract):
    make = staticmethod(lambda: PixelsSpace(PixelsOptions()))


class TestRandomFilters(FeatureSpaceContract):
    make = staticmethod(lambda: RandomFiltersSpace(RandomFiltersOptions(filters=8)))


class TestTrained(FeatureSpaceContract):
    make = staticmethod(lambda: TrainedSpace(TrainedOptions()))


class _OfAModel(FeatureSpaceContract):
    kind = "dinov2"
    pooling = "auto"

    @pytest.fixture(autouse=True)
    def model(self, tmp_path):
        folder = save_image_model(tmp_path / self.kind, self.kind)
        options = ImageModelOptions(model=str(folder), batch_size=5, pooling=self.pooling)
        self.make = lambda: ImageModelSpace(options)


class TestDinov2(_OfAModel):
    pass


class TestDinov2WithMeanPooling(_OfAModel):
    pooling = "mean"


class TestClip(_OfAModel):
    kind = "clip"


class TestResNet(_OfAModel):
    kind = "resnet"


del _OfAModel


@pytest.mark.parametrize("component", fgl_feature_spaces(), ids=lambda component: component.name)
def test_what_is_registered_exists(component):
    target, options = (
        getattr(import_module(module), name)
        for module, name in (component.target.split(":"), component.options.split(":"))
    )
    assert issubclass(options, Options)
    assert callable(target.extractor)
    assert all(field.description for name, field in options.model_fields.items()), "an option without a description"
    assert component.summary


def test_the_ready_made_space_is_pinned_and_another_model_is_not_bound_to_its_commit():
    from fgl.core.config.resolve import resolve
    from fgl.core.plugin_manager import PluginManager

    registry = PluginManager.load().registry
    pinned = resolve([{"features": "dinov2"}], registry).features.options
    assert (pinned["model"], len(pinned["revision"])) == ("facebook/dinov2-small", 40)
    other = resolve([{"features": {"name": "dinov2", "model": "facebook/dinov2-base"}}], registry).features.options
    assert other["revision"] is None


def test_registering_imports_no_numbers_and_no_pixels():
    code = "import sys, fgl.plugins.features; sys.exit(str({'numpy', 'PIL', 'pydantic', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"
