"""Federated algorithms that break one promise each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fgl.plugins.algorithms.fedavg import FedAvg
from fgl.plugins.algorithms.options import FedAvgOptions
from fgl.testing.contracts import AlgorithmContract


def other(**members):
    """FedAvg with other methods."""
    kind = type("Other", (FedAvg,), members)
    return staticmethod(lambda: kind(FedAvgOptions()))


class RefuseAnotherStart(AlgorithmContract):
    refused_by = "test_it_starts_from_the_model_that_it_is_given"
    make = other(
        start=lambda self, model, trained: FedAvg.start(
            self, {name: np.zeros_like(array) for name, array in model.items()}, trained
        )
    )


def widened(self, state, updates, clients):
    found = FedAvg.aggregate(self, state, updates, clients)
    return replace(found, model={name: array.astype(np.float64) for name, array in found.model.items()})


class RefuseOtherTypes(AlgorithmContract):
    refused_by = "test_models_and_the_servers_arrays_keep_names_shapes_and_dtypes"
    make = other(aggregate=widened)


class RefuseUndeclaredArrays(AlgorithmContract):
    refused_by = "test_what_clients_send_is_what_was_declared"
    make = other(local=lambda self, job: replace(FedAvg.local(self, job), extra={"drift": np.zeros(3, np.float32)}))


def in_place(self, state, updates, clients):
    for array in state.model.values():
        array += 1
    return FedAvg.aggregate(self, state, updates, clients)


class RefuseWritten(AlgorithmContract):
    refused_by = "test_nothing_that_is_handed_in_is_changed"
    make = other(aggregate=in_place)


def remembering(self, state, updates, clients):
    """Mixes in what it made in the round before: state that hides in the object."""
    found = FedAvg.aggregate(self, state, updates, clients)
    last = getattr(self, "last", None)
    self.last = found.model
    if last is None:
        return found
    mixed = {
        name: (array + last[name]) / 2 if array.dtype == np.float32 else array for name, array in found.model.items()
    }
    return replace(found, model=mixed)


class RefuseHiddenState(AlgorithmContract):
    refused_by = "test_equal_rounds_are_equal_whoever_computes_them"
    make = other(aggregate=remembering)


def everybody(self, state, updates, clients):
    assert len(updates) == clients
    return FedAvg.aggregate(self, state, updates, clients)


class RefuseAbsence(AlgorithmContract):
    refused_by = "test_a_client_may_be_absent_and_come_back"
    make = other(aggregate=everybody)


class RefuseStandingStill(AlgorithmContract):
    refused_by = "test_it_learns"
    make = other(aggregate=lambda self, state, updates, clients: state)
