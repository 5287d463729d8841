"""FedDEO keeps the contract of prompt strategies, learns what lowers the loss, and runs by its method's name."""

from __future__ import annotations

import fgl
import numpy as np
import pytest
import torch
from fgl.testing.contracts import DrawnImages, MethodContract, PromptStrategyContract, client_context
from pydantic import ValidationError

from fgl_feddeo.method import Method
from fgl_feddeo.options import FedDeoOptions
from fgl_feddeo.strategy import FedDeo


class TestTheStart(PromptStrategyContract):
    make = staticmethod(lambda: FedDeo(FedDeoOptions(epochs=0)))


class TestMethod(MethodContract):
    make = staticmethod(lambda: Method(FedDeoOptions(lr=2.0)))


class Bowl:
    """A denoiser whose loss is the distance of the row from the mean latent."""

    def latents(self, pixels):
        return torch.from_numpy(pixels).float().mean((1, 2)) / 255

    def loss(self, latents, arrays, rng, timesteps=None):
        return (arrays["rows"].mean(1) - latents.mean(1)).square()


def test_a_row_moves_to_where_the_loss_of_its_images_is_lowest() -> None:
    latents = torch.rand(40, 3)
    strategy = FedDeo(FedDeoOptions(lr=0.5, epochs=50, batch_size=8))
    start = {"rows": torch.zeros(4)}
    learned = strategy._learn(Bowl(), latents, start, seed=1, advance=lambda count: None)["rows"]
    assert float(learned.mean()) == pytest.approx(float(latents.mean()), abs=0.05)
    assert torch.equal(learned, strategy._learn(Bowl(), latents, start, seed=1, advance=lambda count: None)["rows"])
    assert torch.equal(start["rows"], torch.zeros(4))


def test_a_diverging_row_names_the_learning_rate() -> None:
    strategy = FedDeo(FedDeoOptions(lr=1e30, epochs=5))
    with pytest.raises(fgl.DivergedError, match=r"lower lr \(1e\+30\)"):
        strategy._learn(Bowl(), torch.rand(8, 3), {"rows": torch.zeros(4)}, seed=1, advance=lambda count: None)


def test_a_generator_without_a_denoiser_is_named() -> None:
    class Plain:
        pass

    context = client_context(DrawnImages(np.array([0, 1]), None))
    with pytest.raises((fgl.ModelError, LookupError)):
        FedDeo(FedDeoOptions()).prompts(context)


def test_a_template_without_a_label_is_rejected() -> None:
    with pytest.raises(ValidationError, match="label"):
        FedDeoOptions(template="a photo")


def test_it_runs_by_the_name_of_its_method(tmp_path) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 8}, "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 2}, "generator": {"name": "tiny", "num_inference_steps": 1},
        "classifier": {"name": "small", "epochs": 1}, "baselines": "none",
    }  # fmt: skip
    digests = set()
    for lr in (0.5, 5.0):
        method = {"name": "feddeo", "lr": lr, "batch_size": 8}
        result = fgl.run({**config, "method": method}, out=tmp_path / str(lr), progress=False)
        assert set(result["upload"]["prompts"].values()) == {10}
        digests.add(result["synthetic"]["digest"])
    assert len(digests) == 2
    with pytest.raises(fgl.ConfigError, match="sends arrays of its own"):
        fgl.run({**config, "method": "feddeo", "upload": {"codec": "text"}}, out=tmp_path / "text")
