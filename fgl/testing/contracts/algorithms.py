"""What every federated algorithm must hold to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.testing.federated import Federation, Pictures, network, state_of

if TYPE_CHECKING:
    from fgl.contracts.algorithm import Algorithm


class AlgorithmContract:
    """What every federated algorithm must hold to. `make` builds one with options under which it learns."""

    make: Callable[[], Algorithm]

    def federation(self) -> Federation:
        return Federation(
            type(self).make,
            {"a": Pictures(18, seed=1), "b": Pictures(6, shift=0.3, seed=2), "c": Pictures(9, shift=-0.2, seed=3)},
        )

    def test_it_starts_from_the_model_that_it_is_given(self) -> None:
        model = {name: np.asarray(array + 1) for name, array in state_of(network()).items()}
        state = self.federation().start(model)
        assert state.trained == tuple(name for name, _ in network().named_parameters())
        for name, array in model.items():
            np.testing.assert_array_equal(state.model[name], array)

    def test_models_and_the_servers_arrays_keep_names_shapes_and_dtypes(self) -> None:
        federation = self.federation()
        before = federation.start()
        after = federation.round(before)
        for old, new in ((before.model, after.model), (before.algorithm_state, after.algorithm_state)):
            assert {n: (a.dtype, a.shape) for n, a in old.items()} == {n: (a.dtype, a.shape) for n, a in new.items()}
        assert all(np.isfinite(array).all() for array in [*after.model.values(), *after.algorithm_state.values()])

    def test_what_clients_send_is_what_was_declared(self) -> None:
        federation = self.federation()
        state = federation.start()
        federation.round(state)  # refuses anything else
        assert {n: a.shape for n, a in federation.updates[0].extra.items()} == dict(type(self).make().reply(state))

    def test_nothing_that_is_handed_in_is_changed(self) -> None:
        federation = self.federation()
        first = federation.round(federation.start())
        copies = [{name: array.copy() for name, array in part.items()} for part in (first.model, first.algorithm_state)]
        kept = {name: {n: a.copy() for n, a in one.items()} for name, one in federation.kept.items()}
        before = dict(federation.kept)
        federation.round(first, 2)
        for part, copy in zip((first.model, first.algorithm_state), copies, strict=True):
            for name, array in part.items():
                np.testing.assert_array_equal(array, copy[name])
        for client_id, one in before.items():
            for name, array in one.items():
                np.testing.assert_array_equal(array, kept[client_id][name])

    def test_equal_rounds_are_equal_whoever_computes_them(self) -> None:
        """No state hides in the object: the others here build one for each step."""
        algorithm = type(self).make()
        one, other = self.federation().run(3), replace(self.federation(), make=lambda: algorithm).run(3)
        for name, array in one.model.items():
            np.testing.assert_array_equal(array, other.model[name])

    def test_a_client_may_be_absent_and_come_back(self) -> None:
        federation = self.federation()
        state = federation.start()
        for number, present in enumerate((("a", "b"), ("c",), ("a", "c"), ("a", "b", "c")), start=1):
            state = federation.round(state, number, present)
        assert all(np.isfinite(array).all() for array in state.model.values())

    def test_it_learns(self) -> None:
        """On clients that have pictures of one kind, the global model's loss falls to less than half."""
        same = {name: Pictures(seed=number) for number, name in enumerate("abc")}
        federation = Federation(type(self).make, same)
        before, after = federation.start(), federation.run(30)
        assert same["a"].loss(after.model) < 0.5 * same["a"].loss(before.model)
