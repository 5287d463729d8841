"""FedDyn keeps the contract of algorithms, and what the server and the clients hold agrees."""

from __future__ import annotations

from dataclasses import replace

import fgl
import numpy as np
import torch
from fgl import LocalUpdate
from fgl.testing.contracts import AlgorithmContract

from fgl_feddyn.feddyn import FedDyn, Regularizer
from fgl_feddyn.options import FedDynOptions


class TestFedDyn(AlgorithmContract):
    make = staticmethod(lambda: FedDyn(FedDynOptions()))


def quadratic(job_start: np.ndarray, kept: np.ndarray, target: np.ndarray, alpha: float) -> np.ndarray:
    """Minimum of |w - target|²/2 - kept·w + alpha |w - start|²/2."""
    return (target + kept + alpha * job_start) / (1 + alpha)


def test_on_quadratic_losses_it_finds_the_minimum_of_all_data() -> None:
    """With every client at its exact minimum in each round, the global model converges to the mean of their targets,
    and the server holds the mean of what the clients kept."""
    alpha, targets = 0.5, [np.array([0.0, 4.0]), np.array([3.0, -1.0]), np.array([9.0, 0.0])]
    algorithm = FedDyn(FedDynOptions(alpha=alpha))
    state = algorithm.start({"w": np.zeros(2)}, ["w"])
    kept = [np.zeros(2) for _ in targets]
    for _ in range(60):
        updates = []
        for number, target in enumerate(targets):
            best = quadratic(state.model["w"], kept[number], target, alpha)
            kept[number] = kept[number] - alpha * (best - state.model["w"])
            updates.append(LocalUpdate(f"client-{number}", 5, {"w": best}))
        state = algorithm.aggregate(state, updates, clients=len(targets))
        assert np.allclose(state.algorithm_state["w"], np.mean(kept, axis=0))
    assert np.allclose(state.model["w"], np.mean(targets, axis=0), atol=1e-4)


def test_clients_that_took_no_part_weigh_in_what_the_server_keeps() -> None:
    algorithm = FedDyn(FedDynOptions(alpha=1.0))
    state = algorithm.start({"w": np.zeros(1)}, ["w"])
    update = LocalUpdate("client-0", 5, {"w": np.array([2.0])})
    after = algorithm.aggregate(state, [update], clients=4)
    assert after.algorithm_state["w"] == -0.5
    assert after.model["w"] == 2.5
    assert algorithm.aggregate(replace(after), [update], clients=4).algorithm_state["w"] == -0.375


def test_the_gradient_is_that_of_the_regularized_loss() -> None:
    model = torch.nn.Linear(3, 2)
    start = {name: np.full(tensor.shape, 0.3, np.float32) for name, tensor in model.state_dict().items()}
    kept = {name: np.full(tensor.shape, -0.7, np.float32) for name, tensor in model.state_dict().items()}
    images = torch.rand(4, 3)
    model(images).square().sum().backward()
    Regularizer(start, kept, 0.1).gradients(model, lr=0.1)
    added = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    terms = sum(
        0.05 * (weight - torch.tensor(start[name])).square().sum() - (torch.tensor(kept[name]) * weight).sum()
        for name, weight in model.named_parameters()
    )
    (model(images).square().sum() + terms).backward()
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, added[name], atol=1e-6)


def test_a_run_takes_it_by_name(tmp_path) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 8}, "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 2}, "generator": {"name": "tiny", "num_inference_steps": 1},
        "classifier": {"name": "small", "epochs": 1}, "rounds": {"count": 2, "local_epochs": 1},
        "algorithm": {"name": "feddyn"}, "baselines": "none",
    }  # fmt: skip
    result = fgl.run(config, out=tmp_path / "run")
    assert [len(entry["clients"]) for entry in result["rounds"]["rounds"]] == [2, 2]
