"""The built-in generators can be adapted, by the contract that third parties are tested against."""

from __future__ import annotations

import pytest
import torch

from fgl.contracts.adaptation import AdapterSpec
from fgl.plugins.generators.options import StableDiffusionOptions, StableDiffusionXLOptions
from fgl.plugins.generators.stable_diffusion import StableDiffusion, StableDiffusionXL
from fgl.testing.contracts import AdaptationContract
from tests.helpers.pipelines import save_pipeline, save_xl_pipeline


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("sd"), prediction_type="v_prediction")


@pytest.fixture(scope="module")
def xl_model(tmp_path_factory):
    return save_xl_pipeline(tmp_path_factory.mktemp("sdxl"))


class TestStableDiffusion(AdaptationContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        options = StableDiffusionOptions(model=str(model), dtype="fp32", num_inference_steps=2, batch_size=4)
        self.generator = lambda: StableDiffusion(options)

    def make(self):
        return self.generator().adaptation(AdapterSpec("full", batch_size=8))


class TestStableDiffusionXL(AdaptationContract):
    @pytest.fixture(autouse=True)
    def _model(self, xl_model):
        options = StableDiffusionXLOptions(model=str(xl_model), dtype="fp32", num_inference_steps=2, batch_size=4)
        self.generator = lambda: StableDiffusionXL(options)

    def make(self):
        return self.generator().adaptation(AdapterSpec("lora", rank=2, layers="attention", batch_size=8))
