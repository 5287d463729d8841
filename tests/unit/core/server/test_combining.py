"""What an aggregation rule makes of updates reaches every algorithm, in every array, and whatever a client claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fgl.contracts.algorithm import GlobalState, LocalUpdate
from fgl.core.config.schema import RoundsOptions
from fgl.core.plugin_manager import PluginManager
from fgl.core.server.combining import rule_of, ruled
from fgl.errors import ConfigError
from fgl.plugins.aggregation_rules.coordinates import Median
from fgl.plugins.aggregation_rules.krum import Krum
from fgl.plugins.aggregation_rules.norm_clip import NormClip
from fgl.plugins.aggregation_rules.options import KrumOptions, NormClipOptions
from fgl.plugins.algorithms.fedadam import FedAdam
from fgl.plugins.algorithms.fedavg import FedAvg
from fgl.plugins.algorithms.options import FedAdamOptions, FedAvgOptions, ScaffoldOptions
from fgl.plugins.algorithms.scaffold import Scaffold

MODEL = {
    "w": np.ones((2, 2), np.float32),
    "mean": np.zeros(3, np.float32),
    "num_batches_tracked": np.array(7),
}
STATE = GlobalState(MODEL, ("w",))


def update(name: str, moved: float, samples: int = 10, mean: float = 0.5, count: int = 9) -> LocalUpdate:
    model = {
        "w": np.full((2, 2), 1 + moved, np.float32),
        "mean": np.full(3, mean, np.float32),
        "num_batches_tracked": np.array(count),
    }
    return LocalUpdate(name, samples, model, {"w": np.full((2, 2), -moved, np.float32)})


HONEST = [update(name, moved) for name, moved in (("b", 0.1), ("c", 0.2), ("d", 0.3), ("e", 0.4))]
HOSTILE = update("a", -1000.0, samples=10**9, mean=1e9, count=10**12)


def test_every_array_of_the_model_and_beside_it_goes_through_the_rule() -> None:
    sent, said = ruled("median", Median(), STATE, [HOSTILE, *HONEST])
    assert [one.client_id for one in sent] == list("abcde")
    for one in sent:
        np.testing.assert_allclose(one.model["w"], 1.2, rtol=1e-6)
        np.testing.assert_allclose(one.extra["w"], -0.2, rtol=1e-6)
        assert one.model["mean"].tolist() == [0.5] * 3
        assert one.model["num_batches_tracked"] == 9
        assert {name: (array.dtype, array.shape) for name, array in one.model.items()} == {
            name: (array.dtype, array.shape) for name, array in MODEL.items()
        }
        assert one.extra["w"].dtype == np.float32
    assert (said.left_out, said.scaled, said.refused) == ([], {}, "")


def test_what_a_client_claims_has_no_weight_where_there_is_one_result() -> None:
    sent, _ = ruled("median", Median(), STATE, [HOSTILE, *HONEST])
    averaged = FedAvg(FedAvgOptions()).aggregate(STATE, sent, 5)
    np.testing.assert_allclose(averaged.model["w"], 1.2, rtol=1e-6)


def test_control_variates_move_by_the_share_that_took_part_and_not_by_those_that_were_kept() -> None:
    algorithm = Scaffold(ScaffoldOptions())
    state = algorithm.start(MODEL, ("w",))
    sent, said = ruled("krum", Krum(KrumOptions(hostile=1)), state, [HOSTILE, *HONEST])
    assert "a" in said.left_out
    assert len(said.left_out) == 4
    after = algorithm.aggregate(state, sent, 10)
    kept = next(one for one in HONEST if one.client_id not in said.left_out)
    np.testing.assert_allclose(after.algorithm_state["w"], kept.extra["w"] * 5 / 10, rtol=1e-5)
    np.testing.assert_allclose(after.model["w"], kept.model["w"], rtol=1e-6)


def test_fedadam_sees_the_rules_change_as_its_gradient() -> None:
    algorithm = FedAdam(FedAdamOptions())
    state = algorithm.start(MODEL, ("w",))
    one = algorithm.aggregate(state, ruled("median", Median(), state, [HOSTILE, *HONEST])[0], 5)
    other = algorithm.aggregate(state, [HONEST[1]], 5)
    np.testing.assert_allclose(one.model["w"], other.model["w"], rtol=1e-6)


def test_clipped_updates_keep_their_weights_and_are_named() -> None:
    given = [replace(one, samples=samples) for one, samples in zip([HOSTILE, *HONEST], (1, 1, 1, 1, 6), strict=True)]
    sent, said = ruled("norm-clip", NormClip(NormClipOptions()), STATE, given)
    assert [one.samples for one in sent] == [1, 1, 1, 1, 6]
    assert said.left_out == []
    assert said.scaled["a"] == pytest.approx(0.0, abs=1e-6)
    assert {"a", "e"} <= set(said.scaled)
    changes = [float(one.model["w"][0, 0]) - 1 for one in sent]
    assert changes == pytest.approx([-0.3, 0.1, 0.2, 0.3, 0.3], rel=1e-5)


def test_too_few_updates_leave_nothing() -> None:
    sent, said = ruled("krum", Krum(KrumOptions(hostile=1)), STATE, HONEST)
    assert sent == []
    assert said.refused.endswith("and a round has 4")


def test_a_rule_for_which_no_round_has_enough_is_refused_before_anything_runs() -> None:
    manager = PluginManager.load()
    assert rule_of(RoundsOptions(), manager, 1) is None
    options = RoundsOptions(aggregation={"name": "krum", "hostile": 2, "keep": 1}, fraction=0.5)
    assert rule_of(options, manager, 14) is not None
    with pytest.raises(
        ConfigError, match=r"takes at least 2 x 2 \+ 3 = 7 updates, and a round has 6 \(rounds.fraction"
    ):
        rule_of(options, manager, 12)


def test_a_state_without_buffers_or_extra_arrays_is_enough() -> None:
    state = GlobalState({"w": MODEL["w"]}, ("w",))
    bare = [replace(one, model={"w": one.model["w"]}, extra={}) for one in [HOSTILE, *HONEST]]
    sent, _ = ruled("median", Median(), state, bare)
    assert set(sent[0].model) == {"w"}
    assert sent[0].extra == {}
