"""What classifiers, feature spaces, algorithms and federations of plugins return is checked where it enters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fgl
from fgl import ClientFailure, GlobalState, LocalJob, LocalUpdate
from fgl.errors import BrokenPluginError
from tests.helpers.members import member, returning

CONTEXT = SimpleNamespace(class_names=("a", "b"))
PIXELS = np.zeros((3, 4, 4, 3), np.uint8)


def trained(**values: Any) -> Any:
    members = {**vars(fgl.SupportsLogits), **vars(fgl.SupportsFeatures)}
    value = returning(fgl.TrainedClassifier, values)
    for name in ("logits", "features"):
        assert name in members
        setattr(type(value), name, lambda self, *_, name=name: values.get(name))
    return member("classifier", restore=value).restore({}, CONTEXT)


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        (np.array([0, 99, 1]), "returned 99 as the class; expected 0 to 1"),
        (np.array([0, -1, 1]), "returned -1 as the class; expected 0 to 1"),
        (np.array([0, 1]), "returned int64 [2]; expected whole numbers [3]"),
        (np.array([0.0, 1.0, 1.0]), "returned float64 [3]; expected whole numbers [3]"),
        (np.zeros((3, 2)), "returned float64 [3, 2]; expected whole numbers [3]"),
        (None, "returned NoneType of object; expected an array of numbers"),
    ],
)
def test_predictions_that_name_no_class_are_named(predicted: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        trained(predict=predicted).predict(PIXELS, "last", None)
    assert "classifier 'bad' of fgl-bad: TrainedClassifier.predict() " in str(caught.value)
    assert said in str(caught.value)


def test_predictions_of_any_whole_numbers_are_taken() -> None:
    assert trained(predict=[0, 1, 1]).predict(PIXELS, "last", None).dtype == np.int64


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("logits", np.zeros((3, 5)), "SupportsLogits.logits() returned [3, 5]; expected [3, 2]"),
        ("logits", np.full((3, 2), np.nan), "returned NaN or infinite values, first in row 0"),
        ("features", np.zeros(3), "SupportsFeatures.features() returned [3]; expected [3, d]"),
    ],
)
def test_rows_of_other_images_are_named(name: str, value: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        getattr(trained(**{name: value}), name)(PIXELS, "last", None)
    assert said in str(caught.value)


def test_a_history_may_hold_numbers_of_numpy() -> None:
    assert trained(history=[{"epoch": 1, "loss": np.float32(0.5)}]).history() == [{"epoch": 1, "loss": 0.5}]
    with pytest.raises(BrokenPluginError, match=r"history\(\) returned what is not JSON: loss is nan"):
        trained(history=[{"loss": np.float32("nan")}]).history()
    with pytest.raises(BrokenPluginError, match="returned float as entry 0"):
        trained(history=[0.5]).history()


def test_a_model_that_saves_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenPluginError, match=r"TrainedClassifier.save\(\) wrote no file to its folder"):
        trained().save(tmp_path, "last")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    trained().save(tmp_path, "last")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("state", {"w": ["x"]}, "returned w as list of <U1"),
        ("state", None, "returned None; expected a mapping"),
        ("trained", "weight", "expected names of arrays of state()"),
        ("trained", [1], "expected names of arrays of state()"),
        ("size_bytes", None, "returned None; expected a whole number"),
        ("size_bytes", -1, "returned -1; expected a number of bytes"),
    ],
)
def test_what_a_model_says_of_itself_is_checked(name: str, value: Any, said: str) -> None:
    arguments = ("last",) if name == "state" else ()
    with pytest.raises(BrokenPluginError) as caught:
        getattr(trained(**{name: value}), name)(*arguments)
    assert said in str(caught.value)


def extractor(**values: Any) -> Any:
    return member("features", extractor=returning(fgl.Extractor, values)).extractor({}, None, CONTEXT)


@pytest.mark.parametrize(
    ("name", "value", "arguments", "said"),
    [
        ("features", np.zeros((2, 5)), (PIXELS, None), "returned [2, 5]; expected [3, d]"),
        ("features", np.full((3, 5), np.inf), (PIXELS, None), "returned NaN or infinite values"),
        ("nearest", np.zeros(3), (PIXELS, PIXELS), "expected (distances, positions)"),
        ("nearest", (np.zeros(3), np.full(3, 3)), (PIXELS, PIXELS), "returned 3 as the position; expected 0 to 2"),
        ("nearest", (np.zeros(2), np.zeros(3, int)), (PIXELS, PIXELS), "returned distances [2]; expected [3]"),
        ("compare", [0.5], (PIXELS, PIXELS, 0), "returned list; expected a mapping"),
        ("describe", {"model": object()}, (), "returned what is not JSON"),
    ],
)
def test_what_a_feature_space_returns_is_checked(name: str, value: Any, arguments: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        getattr(extractor(**{name: value}), name)(*arguments)
    assert f"feature space 'bad' of fgl-bad: Extractor.{name}() " in str(caught.value)
    assert said in str(caught.value)


MODEL = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
STATE = GlobalState(MODEL, ("w", "b"))
CHANGED = [
    ({"w": MODEL["w"]}, "returned a model without 'b'; expected the arrays that it was given"),
    ({**MODEL, "c": MODEL["b"]}, "returned a model with an unknown array 'c'"),
    ({**MODEL, "w": MODEL["w"].astype(np.float64)}, "with w as float64 [2, 2]; expected float32 [2, 2]"),
    ({**MODEL, "w": MODEL["b"]}, "with w as float32 [2]; expected float32 [2, 2]"),
    (None, "returned a model as NoneType; expected a mapping of arrays"),
]


@pytest.mark.parametrize(("model", "said"), CHANGED)
def test_an_algorithm_keeps_names_shapes_and_dtypes(model: Any, said: str) -> None:
    state = GlobalState(model, ("w", "b"))
    made = member("algorithm", start=state, aggregate=state, local=LocalUpdate("a", 4, model))
    job = LocalJob("a", 1, MODEL, {}, {}, 4, lambda hook: None)
    for call in (lambda: made.start(MODEL, ("w",)), lambda: made.aggregate(STATE, [], 1), lambda: made.local(job)):
        with pytest.raises(BrokenPluginError) as caught:
            call()
        assert said in str(caught.value)


def test_an_algorithm_answers_for_its_own_client() -> None:
    job = LocalJob("a", 1, MODEL, {}, {}, 4, lambda hook: None)
    sound = LocalUpdate("a", 4, MODEL)
    assert member("algorithm", local=sound).local(job) is sound
    for wrong in (replace(sound, client_id="b"), replace(sound, samples=5)):
        with pytest.raises(BrokenPluginError, match="another client_id or number of samples"):
            member("algorithm", local=wrong).local(job)


def test_a_reply_names_shapes() -> None:
    assert member("algorithm", reply={"c": [np.int64(2), 2]}).reply(STATE) == {"c": (2, 2)}
    with pytest.raises(BrokenPluginError, match=r"returned 'float32' for c; expected a shape"):
        member("algorithm", reply={"c": "float32"}).reply(STATE)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (None, "returned NoneType; expected an iterator"),
        ([("a", b"")], "yielded nothing for b"),
        ([("b", b""), ("a", b"")], "yielded 'b' where a was next"),
        ([("a", b""), ("b", "text")], "yielded str; expected bytes or fgl.ClientFailure"),
        ([b"", b""], "yielded bytes; expected (client id, reply)"),
        ([("a", b""), ("b", b""), ("c", b"")], "after the last client"),
    ],
)
def test_answers_of_other_clients_are_named(answers: Any, said: str) -> None:
    federation = member("federation", call=answers)
    with pytest.raises(BrokenPluginError) as caught:
        list(federation.call(["a", "b"], "module:function", None, None))
    assert "federation 'bad' of fgl-bad: Federation.call() " in str(caught.value)
    assert said in str(caught.value)


def test_replies_and_failures_pass() -> None:
    answers = [("a", b"x"), ("b", ClientFailure("b", "it failed"))]
    assert list(member("federation", call=answers).call(["a", "b"], "module:function", None, None)) == answers


@pytest.mark.parametrize(
    ("ruling", "said"),
    [
        (fgl.Ruling({}), "returned the parts ; expected weights"),
        (fgl.Ruling({"weights": np.zeros((3, 4))}), "returned weights [3, 4]; expected finite [3, 2]"),
        (fgl.Ruling({"weights": np.full((3, 2), np.nan)}), "returned weights [3, 2]; expected finite [3, 2]"),
        (fgl.Ruling({"weights": np.zeros((3, 2))}, left_out=(3,)), "named rows [3]; expected 0 to 2"),
        (fgl.Ruling({"weights": np.zeros((3, 2))}, left_out=(0, 1, 2)), "left all 3 updates out"),
        (fgl.Ruling({"weights": np.zeros((3, 2))}, scaled={-1: 0.5}), "named rows [-1]; expected 0 to 2"),
    ],
)
def test_a_ruling_that_is_not_of_the_updates_is_named(ruling: Any, said: str) -> None:
    with pytest.raises(BrokenPluginError) as caught:
        member("aggregation_rule", apply=ruling).apply({"weights": np.zeros((3, 2))})
    assert f"AggregationRule.apply() {said}" in str(caught.value)


def test_rows_of_a_ruling_become_arrays_of_float64() -> None:
    rule = member("aggregation_rule", apply=fgl.Ruling({"weights": [[1, 2], [3, 4]]}))
    assert rule.apply({"weights": np.zeros((2, 2))}).parts["weights"].dtype == np.float64
