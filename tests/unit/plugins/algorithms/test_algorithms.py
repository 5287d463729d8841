"""The federated algorithms do, step by step, what their papers say: numbers worked out by hand."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from fgl.contracts.algorithm import LocalUpdate
from fgl.plugins.algorithms import fgl_algorithms
from fgl.plugins.algorithms.fedadam import FedAdam
from fgl.plugins.algorithms.fedavg import FedAvg, average
from fgl.plugins.algorithms.fedprox import FedProx, Pull
from fgl.plugins.algorithms.options import FedAdamOptions, FedAvgOptions, FedProxOptions, ScaffoldOptions
from fgl.plugins.algorithms.scaffold import Scaffold
from fgl.testing.federated import Federation, Point, first_model


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_an_average_is_weighted_by_samples_and_takes_the_largest_count() -> None:
    first = {"w": np.array([1.0, 2.0], np.float32), "num_batches_tracked": np.array(4)}
    second = {"w": np.array([5.0, -2.0], np.float32), "num_batches_tracked": np.array(9)}
    result = average([first, second], [30, 10])
    assert result["w"].tolist() == [2.0, 1.0]
    assert result["w"].dtype == np.float32
    assert result["num_batches_tracked"] == 9
    assert result["num_batches_tracked"].dtype == first["num_batches_tracked"].dtype


@pytest.mark.parametrize(("weighting", "expected"), [("samples", 0.375), ("uniform", 0.25)])
def test_fedavg_after_one_step_by_hand(weighting: str, expected: float) -> None:
    # From 0 with lr ½, one step takes a client half way: to 0.5 and 0. Three samples against one.
    clients = {"a": Point((1.0,), samples=3, lr=0.5), "b": Point((0.0,), samples=1, lr=0.5)}
    federation = Federation(lambda: FedAvg(FedAvgOptions(weighting=weighting)), clients)
    state = federation.round(federation.start(first_model(1)))
    close(state.model["w"], [expected])
    assert state.model["count"] == 1


def test_the_proximal_gradient_is_mu_times_the_way_from_the_global_model() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    weight, start = torch.tensor([[3.0, -1.0]]), np.array([[1.0, 1.0]], np.float32)
    model.weight.data.copy_(weight)
    model.weight.grad = torch.tensor([[0.5, 0.25]])
    Pull({"weight": start}, mu=0.1).gradients(model, lr=1.0)
    close(model.weight.grad.numpy(), [[0.5 + 0.1 * 2, 0.25 - 0.1 * 2]])


def test_fedprox_after_two_steps_by_hand() -> None:
    # w1 = 0.5 · 1 = 0.5; then the gradient is (0.5 - 1) + 2 · 0.5 = 0.5, so w2 = 0.5 - 0.25.
    federation = Federation(lambda: FedProx(FedProxOptions(mu=2.0)), {"a": Point((1.0,), lr=0.5, steps=2)})
    close(federation.round(federation.start(first_model(1))).model["w"], [0.25])


def test_fedprox_that_does_not_pull_is_fedavg_to_the_bit() -> None:
    clients = {"a": Point((0.3, 0.7), 3, steps=5, momentum=0.9), "b": Point((-1.1, 0.2), steps=3, momentum=0.9)}
    prox = Federation(lambda: FedProx(FedProxOptions(mu=0.0)), clients).run(4)
    plain = Federation(lambda: FedAvg(FedAvgOptions()), clients).run(4)
    assert prox.model["w"].tobytes() == plain.model["w"].tobytes()
    pulled = Federation(lambda: FedProx(FedProxOptions(mu=0.1)), clients).run(4)
    assert pulled.model["w"].tobytes() != plain.model["w"].tobytes()


@pytest.mark.parametrize("control", ["gradients", "displacement"])
def test_scaffold_over_two_rounds_by_hand(control: str) -> None:
    # Two clients at 1 and 0, one of them absent in the second round; lr ½, one step, N = 2, the paper's weights.
    clients = {"a": Point((1.0,), samples=9, lr=0.5), "b": Point((0.0,), lr=0.5)}
    options = ScaffoldOptions(control=control, weighting="uniform")
    federation = Federation(lambda: Scaffold(options), clients)
    first = federation.round(federation.start(first_model(1)))
    # Round 1, all variates 0: gradients -1 and 0 at x = 0, so y = 0.5 and 0, x = 0.25, c_a = -1, c_b = 0, c = -0.5.
    close(first.model["w"], [0.25])
    close(federation.kept["a"]["w"], [-1.0])
    close(federation.kept["b"]["w"], [0.0])
    close(first.algorithm_state["w"], [-0.5])
    # Round 2, a alone: gradient 0.25 - 1 = -0.75, corrected by c - c_a = +0.5 to -0.25: y = 0.375, taken over whole.
    # c_a becomes -0.75, a change of +0.25, of which c takes over half, for one of two clients came.
    second = federation.round(first, 2, ["a"])
    close(second.model["w"], [0.375])
    close(federation.kept["a"]["w"], [-0.75])
    close(second.algorithm_state["w"], [-0.375])


def test_both_ways_to_a_control_variate_agree_under_plain_sgd_and_not_under_momentum() -> None:
    def run(control: str, momentum: float) -> np.ndarray:
        clients = {
            "a": Point((1.0, 0.5), 3, steps=4, momentum=momentum),
            "b": Point((-2.0, 0.1), steps=2, momentum=momentum),
        }
        return Federation(lambda: Scaffold(ScaffoldOptions(control=control)), clients).run(3).algorithm_state["w"]

    close(run("gradients", 0.0), run("displacement", 0.0))
    assert not np.allclose(run("gradients", 0.9), run("displacement", 0.9), rtol=0.05)


def test_under_momentum_a_variate_of_gradients_is_the_mean_of_the_gradients() -> None:
    # lr ½, momentum ½, target 1: gradients -1 at 0, then w = 0.5 and -0.5 there. Displacement moves by 0.5, then by
    # 0.5 · (0.5 + 0.5 · 1) = 0.5 to 1: option II would call that a mean gradient of -1.
    for control, expected in (("gradients", -0.75), ("displacement", -1.0)):
        options = ScaffoldOptions(control=control)
        federation = Federation(lambda o=options: Scaffold(o), {"a": Point((1.0,), lr=0.5, steps=2, momentum=0.5)})
        federation.round(federation.start(first_model(1)))
        close(federation.kept["a"]["w"], [expected])


def test_scaffold_weights_clients_by_their_samples_as_fedavg_does() -> None:
    clients = {"a": Point((1.0,), samples=3, lr=0.5), "b": Point((0.0,), samples=1, lr=0.5)}
    federation = Federation(lambda: Scaffold(ScaffoldOptions()), clients)
    state = federation.round(federation.start(first_model(1)))
    close(state.model["w"], [0.375])
    close(state.algorithm_state["w"], [-0.75])


def test_scaffold_corrects_the_drift_that_fedavg_has() -> None:
    # With many local steps and unequal speeds, FedAvg ends beside the optimum of the sum; SCAFFOLD does not.
    clients = {"a": Point((1.0,), lr=0.5, steps=10), "b": Point((0.0,), lr=0.05, steps=10)}

    def end(make) -> float:
        federation = Federation(make, clients)
        state = federation.start(first_model(1))
        for number in range(1, 200):
            state = federation.round(state, number)
        return abs(float(state.model["w"][0]) - 0.5)

    assert end(lambda: Scaffold(ScaffoldOptions())) < 0.01
    assert end(lambda: FedAvg(FedAvgOptions())) > 0.1


def test_fedadam_over_two_rounds_by_hand() -> None:
    options = FedAdamOptions(lr=0.1, beta1=0.5, beta2=0.75, tau=0.5)
    algorithm = FedAdam(options)
    state = algorithm.start({"w": np.array([1.0], np.float32), "n": np.array(0)}, ("w",))
    close(state.algorithm_state["v/w"], [0.25])  # τ²
    # Δ = 3 - 1 = 2: m = 1, v = 0.75 · 0.25 + 0.25 · 4 = 1.1875.
    state = algorithm.aggregate(state, [update("a", 3.0, 4)], 1)
    step = 0.1 * 1 / (np.sqrt(1.1875) + 0.5)
    close(state.algorithm_state["m/w"], [1.0])
    close(state.algorithm_state["v/w"], [1.1875])
    close(state.model["w"], [1 + step])
    assert state.model["n"] == 4  # a buffer: it is averaged, not optimized
    # Two clients, three samples to one: Δ = 0.75 · 0 + 0.25 · 4 - w.
    w = float(state.model["w"][0])
    state = algorithm.aggregate(state, [update("a", 0.0, 1, samples=3), update("b", 4.0, 1)], 2)
    change = 1 - w
    m, v = 0.5 + 0.5 * change, 0.75 * 1.1875 + 0.25 * change**2
    np.testing.assert_allclose(state.algorithm_state["m/w"], [m], rtol=1e-5)
    np.testing.assert_allclose(state.model["w"], [w + 0.1 * m / (np.sqrt(v) + 0.5)], rtol=1e-5)


def update(client_id: str, value: float, count: int, samples: int = 1) -> LocalUpdate:
    return LocalUpdate(client_id, samples, {"w": np.array([value], np.float32), "n": np.array(count)})


def test_one_client_and_plain_averaging_is_local_training() -> None:
    point = Point((1.0, -1.0), lr=0.3, steps=7, momentum=0.9)
    federation = Federation(lambda: FedAvg(FedAvgOptions()), {"only": point})
    state = federation.round(federation.start())
    assert state.model["w"].tobytes() == point.fit(first_model(), None).state("last")["w"].tobytes()


def test_components_name_their_classes_and_options() -> None:
    names = []
    for component in fgl_algorithms():
        names.append(component.name)
        for target in (component.target, component.options or ""):
            module, _, name = target.partition(":")
            assert getattr(import_module(module), name)
    assert names == ["fedavg", "fedprox", "scaffold", "fedadam"]
