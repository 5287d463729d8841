"""FedBiP keeps the contracts of its three families, and what it sends and samples is what it says."""

from __future__ import annotations

import fgl
import numpy as np
import pytest
import torch
from fgl.testing.contracts import GeneratorContract, MethodContract
from pydantic import ValidationError

from fgl_fedbip.generator import FromLatents, Sampler
from fgl_fedbip.method import Method
from fgl_fedbip.options import FedBipOptions, SamplerOptions
from fgl_fedbip.strategy import _interpolated

TINY = {"base": "tiny", "latents": (16, 8, 8), "steps": 2, "batch_size": 4}


class TestFromLatents(GeneratorContract):
    make = staticmethod(lambda: FromLatents(SamplerOptions(**TINY)))


class TestMethod(MethodContract):
    make = staticmethod(lambda: Method(FedBipOptions(**TINY)))


def test_a_base_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValidationError, match="did you mean 'tiny'"):
        SamplerOptions(base="tinny")


def test_a_latent_is_a_mixture_of_two_images_of_its_class() -> None:
    latents = np.stack([np.full((1, 2, 2), value, np.float32) for value in (0, 1, 10, 11, 50)])
    owner, kept = np.array([0, 0, 1, 1, 2]), np.repeat([0, 1, 2], 20)
    mixed = _interpolated(latents, owner, kept, np.random.default_rng(0))
    means = mixed.mean((1, 2, 3))
    for place, (low, high) in enumerate([(0, 1), (10, 11), (latents.mean(), 50)]):
        own = means[kept == place]
        assert ((own > low) & (own < high)).all(), "a latent of one image alone"
    assert len(set(means[kept == 0].tolist())) == 20


class Known:
    """A denoiser that always makes out the same latent."""

    timesteps = 100
    signal = torch.linspace(0.999, 0.01, 100)

    def __init__(self, clean: torch.Tensor) -> None:
        self.clean = clean

    def predict(self, noisy, timesteps, arrays):
        return self.clean.expand(len(noisy), *self.clean.shape)


def test_the_sampler_ends_at_what_the_denoiser_makes_out() -> None:
    from fgl import Conditioning, PlanItem

    class Rows:
        guidance_scale = np.array([np.nan])

        def gather(self, name, index):
            return [np.ones((1, 2, 2), np.float32) if name == "latents" else np.zeros(3) for _ in index]

    clean = torch.full((1, 2, 2), 0.7)
    sampler = Sampler(
        Known(clean), fgl.UploadSchema((fgl.ArraySpec("rows", (3,)),), "e"), SamplerOptions(**TINY), (2, 2)
    )
    rows: Conditioning = Rows()  # type: ignore[assignment]
    item = PlanItem("a", 0, "b", 0, "", None, seed=3)
    assert torch.allclose(sampler._sample([item], rows), clean.expand(1, 1, 2, 2), atol=1e-5)


def test_it_runs_with_latents_and_without(tmp_path) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 6}, "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 2}, "classifier": {"name": "small", "epochs": 1},
    }  # fmt: skip
    method = {"name": "fedbip", **TINY, "rows_per_class": 2, "shots": 2, "epochs": 1}
    sent = {}
    for name, latents in {"with": [16, 8, 8], "without": None}.items():
        result = fgl.run({**config, "method": {**method, "latents": latents}}, out=tmp_path / name, progress=False)
        assert set(result["upload"]["prompts"].values()) == {20}
        sent[name] = result["upload"]["bytes_total"]
    assert sent["with"] - sent["without"] > 2 * 20 * 16 * 8 * 8 * 2 - 1


def test_another_shape_of_latents_is_said_at_once(tmp_path, caplog) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 4}, "partition": {"name": "iid", "clients": 1},
        "method": {"name": "fedbip", **TINY, "latents": [4, 8, 8], "shots": 2, "epochs": 0}, "baselines": "none",
    }  # fmt: skip
    with pytest.raises(fgl.FGLError):
        fgl.run(config, out=tmp_path / "run", progress=False)
    assert "the model's latents are [16, 8, 8]" in caplog.text
