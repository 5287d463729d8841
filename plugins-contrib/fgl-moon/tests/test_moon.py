"""MOON keeps the contract of algorithms, is FedAvg at mu = 0, and contrasts representations above."""

from __future__ import annotations

import fgl
import numpy as np
import pytest
import torch
from fgl.testing.contracts import AlgorithmContract

from fgl_moon.moon import Contrast, Moon, last_linear
from fgl_moon.options import MoonOptions


class TestMoon(AlgorithmContract):
    make = staticmethod(lambda: Moon(MoonOptions()))


class TestMoonWithoutContrast(AlgorithmContract):
    make = staticmethod(lambda: Moon(MoonOptions(mu=0.0)))


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.BatchNorm1d(5))
        self.head = torch.nn.Linear(5, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def state_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def models() -> tuple[Net, dict[str, np.ndarray], dict[str, np.ndarray]]:
    torch.manual_seed(0)
    return Net().train(), state_of(Net()), state_of(Net())


def test_the_term_is_that_of_the_paper_in_every_step(models) -> None:
    model, start, previous = models
    hook, images = Contrast(start, previous, MoonOptions(mu=2.0, temperature=0.5)), torch.rand(4, 3, 2, 2)
    for _ in range(2):  # the first step reads the representation in another way than the later ones
        logits = model(images)
        term = hook.loss(model, images, logits, torch.zeros(4, dtype=torch.int64))
        near = []
        for state in (start, previous):
            other = Net().eval()
            other.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
            near.append(torch.cosine_similarity(model.body(images), other.body(images)) / 0.5)
        expected = -2.0 * (near[0].exp() / (near[0].exp() + near[1].exp())).log().mean()
        assert torch.allclose(term, expected, atol=1e-6)


def test_the_term_changes_no_buffer_and_reaches_the_body(models) -> None:
    model, start, previous = models
    hook, images = Contrast(start, previous, MoonOptions()), torch.rand(4, 3, 2, 2)
    logits = model(images)
    before = model.body[2].running_mean.clone()
    hook.loss(model, images, logits, torch.zeros(4, dtype=torch.int64)).backward()
    assert torch.equal(model.body[2].running_mean, before)
    assert model.body[1].weight.grad.abs().sum() > 0
    assert model.head.weight.grad is None


def test_a_model_without_a_linear_layer_is_named() -> None:
    with pytest.raises(ValueError, match="Conv2d has none"):
        last_linear(torch.nn.Conv2d(3, 3, 1))


def test_it_runs_and_is_fedavg_without_contrast(tmp_path) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 8}, "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 2}, "generator": {"name": "tiny", "num_inference_steps": 1},
        "classifier": {"name": "small", "epochs": 1}, "rounds": {"count": 2, "local_epochs": 1}, "baselines": "none",
    }  # fmt: skip
    last = {}
    for name, algorithm in {
        "fedavg": {"name": "fedavg"},
        "off": {"name": "moon", "mu": 0.0},
        "on": {"name": "moon"},
    }.items():
        result = fgl.run({**config, "algorithm": algorithm}, out=tmp_path / name)
        last[name] = [entry["loss"] for entry in result["rounds"]["rounds"]]
        assert result["rounds"]["bytes_up"] > 0
    assert last["off"] == last["fedavg"]
    assert last["on"][0] == pytest.approx(last["fedavg"][0], rel=0.2)
    assert last["on"] != last["fedavg"]
