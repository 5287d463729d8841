"""The built-in generators keep the contract that third parties are tested against."""

from __future__ import annotations

import pytest
import torch

from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from fgl.testing.contracts import GeneratorContract
from tests.helpers.pipelines import save_pipeline, save_xl_pipeline


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def xl_model(tmp_path_factory):
    return save_xl_pipeline(tmp_path_factory.mktemp("sdxl"))


class TestStableDiffusion(GeneratorContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        options = StableDiffusionOptions(model=str(model), dtype="fp32", num_inference_steps=2, batch_size=4)
        self.make = lambda: StableDiffusion(options)


class TestStableDiffusionXL(GeneratorContract):
    @pytest.fixture(autouse=True)
    def _model(self, xl_model):
        options = StableDiffusionXLOptions(model=str(xl_model), dtype="fp32", num_inference_steps=2, batch_size=4)
        self.make = lambda: StableDiffusionXL(options)


class TestTheEmbeddedModel(GeneratorContract):
    make = staticmethod(
        lambda: StableDiffusion(
            StableDiffusionOptions(model="embedded:tiny", num_inference_steps=1, guidance_scale=1.0, batch_size=4)
        )
    )
