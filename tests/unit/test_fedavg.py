"""FedAvg averages as McMahan et al. 2017 say, with a real classifier at a tiny size."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from fgl.core.errors import DataError
from fgl.core.types import FitContext, LabelledPixels
from fgl.plugins.algorithms import fgl_algorithms
from fgl.plugins.algorithms.averaging import FedAvg, average
from fgl.plugins.algorithms.options import FedAvgOptions
from fgl.plugins.classifiers.fitting import TransformersClassifier
from fgl.plugins.classifiers.options import ClassifierOptions

CONTEXT = FitContext(class_names=("dark", "light"), seed=3, device="cpu")
CLASSIFIER = TransformersClassifier(
    ClassifierOptions(
        architecture="regnet",
        config={"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "groups_width": 8, "layer_type": "x"},
        image_size=8,
        batch_size=16,
        optimizer="adamw",
        lr=0.01,
    )
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def toy(count: int, seed: int, label: int | None = None) -> LabelledPixels:
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2 if label is None else np.full(count, label)
    pixels = 90 + 70 * labels[:, None, None, None] + draw.normal(0, 40, (count, 8, 8, 3))
    return LabelledPixels(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def run(clients: dict[str, LabelledPixels], rounds: int = 1, context: FitContext = CONTEXT, **options: Any):
    """The final model, and what on_local was told."""
    told: list[tuple[int, str, Any]] = []
    model = FedAvg(FedAvgOptions(**{"local_epochs": 1, **options})).run(
        CLASSIFIER, clients, rounds, context, lambda *arguments: told.append(arguments)
    )
    return model, told


def test_average_is_weighted_by_samples_and_takes_the_largest_count():
    first = {"w": np.array([1.0, 2.0], np.float32), "num_batches_tracked": np.array(4)}
    second = {"w": np.array([5.0, -2.0], np.float32), "num_batches_tracked": np.array(9)}
    result = average([first, second], [30, 10])
    assert result["w"].tolist() == [2.0, 1.0]
    assert result["w"].dtype == np.float32
    assert result["num_batches_tracked"] == 9
    assert result["num_batches_tracked"].dtype == first["num_batches_tracked"].dtype


def test_the_global_model_is_the_average_of_the_local_ones_buffers_included():
    clients = {"b": toy(30, 1), "a": toy(10, 2)}
    model, told = run(clients)
    assert [(number, client) for number, client, _ in told] == [(1, "a"), (1, "b")]
    local = {client: trained.state("last") for _, client, trained in told}
    names = [name for name, array in local["a"].items() if array.dtype == np.float32]
    assert any("running_var" in name for name in names)
    for name in names:
        expected = (10 * local["a"][name].astype(np.float64) + 30 * local["b"][name]) / 40
        np.testing.assert_allclose(model.state("last")[name], expected, rtol=1e-6, atol=1e-7)


def test_one_client_and_one_round_is_local_training():
    model, _ = run({"only": toy(40, 1)}, local_epochs=2)
    local = CLASSIFIER.fit(toy(40, 1), None, replace(CONTEXT, epochs=2))
    for name, array in local.state("last").items():
        assert np.array_equal(model.state("last")[name], array)


def test_each_round_starts_from_the_global_state():
    clients = {"a": toy(20, 1), "b": toy(40, 2)}
    first, _ = run(clients, rounds=1)
    _, told = run(clients, rounds=2)
    second_round = {client: trained for number, client, trained in told if number == 2}
    assert set(second_round) == {"a", "b"}
    # Where training starts shows in BatchNorm's count of steps: the most of round one, and the client's own.
    name = next(name for name in first.state("last") if name.endswith("num_batches_tracked"))
    assert first.state("last")[name] == 3
    assert second_round["a"].state("last")[name] == 3 + 2


def test_a_given_state_is_where_the_first_round_starts():
    start = CLASSIFIER.fit(toy(40, 1), None, replace(CONTEXT, epochs=3)).state("last")
    _, told = run({"a": toy(16, 2)}, context=replace(CONTEXT, start=start))
    name = next(name for name in start if name.endswith("num_batches_tracked"))
    assert told[0][2].state("last")[name] == start[name] + 1


def test_clients_learn_together():
    model, _ = run({"a": toy(48, 1), "b": toy(32, 2)}, rounds=4, local_epochs=2)
    test = toy(60, 9)
    assert (model.predict(test.pixels, "last", CONTEXT.progress) == test.labels).mean() > 0.9


def test_clients_of_one_class_each_take_part():
    model, told = run({"dark": toy(16, 1, label=0), "light": toy(17, 2, label=1)}, rounds=2)
    assert [(number, client) for number, client, _ in told] == [(1, "dark"), (1, "light"), (2, "dark"), (2, "light")]
    assert all(np.isfinite(array).all() for array in model.state("last").values())


def test_equal_seeds_give_equal_runs_whatever_the_order_of_clients():
    clients = {"a": toy(20, 1), "b": toy(24, 2)}
    one, _ = run(clients, rounds=2)
    other, _ = run(dict(reversed(clients.items())), rounds=2)
    for name, array in one.state("last").items():
        assert np.array_equal(other.state("last")[name], array)


def test_a_fraction_trains_that_share_and_not_always_the_same():
    clients = {f"client-{index}": toy(8, index) for index in range(6)}
    _, told = run(clients, rounds=6, fraction=0.34)
    chosen = [{client for number, client, _ in told if number == wanted} for wanted in range(1, 7)]
    assert all(len(clients) == 2 for clients in chosen)
    assert len({frozenset(clients) for clients in chosen}) > 1


def test_clients_without_data_are_passed_over_and_none_at_all_is_an_error():
    empty = LabelledPixels(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64))
    _, told = run({"a": empty, "b": toy(8, 1)})
    assert [client for _, client, _ in told] == ["b"]
    with pytest.raises(DataError, match="0 clients with data"):
        run({"a": empty})
    with pytest.raises(DataError, match="0 rounds"):
        run({"b": toy(8, 1)}, rounds=0)


def test_the_component_names_its_class_and_options():
    (component,) = fgl_algorithms()
    found = []
    for target in (component.target, component.options or ""):
        module, _, name = target.partition(":")
        found.append(getattr(import_module(module), name))
    assert found == [FedAvg, FedAvgOptions]
    assert (FedAvgOptions().local_epochs, FedAvgOptions().fraction) == (5, 1.0)
