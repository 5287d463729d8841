"""A round's updates beside each other: one that would drown the rest is named and left out, an honest one never is."""

from __future__ import annotations

import numpy as np
import pytest

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.core.server.round_updates import diverged, too_large

STATE = GlobalState({"w": np.ones(100, np.float32), "mean": np.zeros(4, np.float32), "n": np.array(3)}, ("w",))


def update(name: str, moved: float = 0.5, samples: int = 10, buffers: float = 0.1, extra: float = 0.0) -> LocalUpdate:
    model = {"w": np.full(100, 1 + moved, np.float32), "mean": np.full(4, buffers, np.float32), "n": np.array(5)}
    return LocalUpdate(name, samples, model, {"c": np.full(100, extra, np.float32)})


def refused(*updates: LocalUpdate, ratio: float = 10.0) -> list[str]:
    return sorted(too_large(updates, STATE, ratio))


def test_huge_weights_buffers_or_arrays_beside_the_model_are_refused_of_that_client_alone() -> None:
    honest = [update(name) for name in ("b", "c", "d")]
    for hostile in (update("a", 1e12), update("a", -60), update("a", buffers=1e12), update("a", extra=1e6)):
        assert refused(hostile, *honest) == ["a"]
    assert refused(*honest) == []


def test_a_client_with_many_more_samples_than_the_median_may_move_as_many_times_further() -> None:
    small = [update(name, 10, samples=2) for name in ("b", "c", "d")]
    assert refused(update("a", 900, samples=200), *small) == []
    assert refused(update("a", 900, samples=2), *small) == ["a"]


def test_updates_within_some_times_the_models_own_norm_are_never_refused() -> None:
    """Where the others have converged, their median is next to nothing; and a batch of one image throws one about."""
    assert refused(update("a", 9.0, samples=1), *(update(name, 1e-9) for name in ("b", "c", "d"))) == []


@pytest.mark.parametrize("moved", [0.0, 1e12])
def test_of_two_updates_neither_sets_the_bound_of_the_other(moved: float) -> None:
    assert refused(update("a", moved), update("b", 2.0)) == (["a"] if moved else [])
    assert refused(update("a", moved)) == (["a"] if moved else [])


def test_a_minority_cannot_have_honest_clients_refused() -> None:
    honest = [update(name, 2.0) for name in ("c", "d", "e")]
    assert refused(update("a", 0.0), update("b", 0.0), *honest) == []


def test_the_error_names_distance_bound_and_option() -> None:
    error = too_large([update("a", 1e12), *(update(name) for name in "bcd")], STATE, 10)["a"]
    assert error.rule == "norm"
    assert str(error) == (
        "refused: its weights lie 1e+13 from what was sent; the bound is 100 (rounds.max_update_ratio)"
    )


def test_divergence_is_what_all_that_failed_say_or_show() -> None:
    assert diverged({"a": "rule diverged: its training diverged", "b": "rule value: refused", "c": "rule norm: x"})
    assert not diverged({"a": "rule diverged: its training diverged", "b": "DataError at the client"})
