"""Rounds after the one-shot model, and federated baselines: bytes both ways, resumable, honest about who was there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core.orchestrator import reopen
from fgl.core.stages.rounds import caps_of
from fgl.core.status import stages
from fgl.errors import ConfigError, DataError, DivergedError
from tests.conftest import changed
from tests.helpers.kill import Killer
from tests.helpers.settings import small

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(
            folder, pipeline, partition={"clients": 3}, rounds={"count": 2, "local_epochs": 1, "start": "one-shot"}
        )
        return changed(base, changes)

    return make


def state(out: Path) -> dict[str, np.ndarray]:
    return dict(load_file(out / "rounds" / "own" / "model.safetensors"))


def same(one: Path, other: Path) -> bool:
    first, second = state(one), state(other)
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_rounds_start_from_the_one_shot_model_and_every_byte_is_counted(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = fgl.run(settings(), out=out)
    rounds = result["rounds"]["rounds"]
    assert [one["round"] for one in rounds] == [1, 2]
    for one in rounds:
        assert one["clients"] == ["client-00", "client-01", "client-02"]
        assert one["samples"] == 30  # a sixth is held out for the test
        assert one["bytes_up"] > 3 * result["rounds"]["model_bytes"]
        assert 0 <= one["bytes_up"] - 3 * result["rounds"]["model_bytes"] < 60_000  # headers
        assert abs(one["bytes_down"] - one["bytes_up"]) < 3000
        assert 0 <= one["top1"] <= 1
    assert result["rounds"]["bytes_up"] == sum(one["bytes_up"] for one in rounds)
    assert result["result"]["last"]["top1"] == rounds[-1]["top1"]
    assert result["result"]["one_shot"]["selected"]["images"] == result["result"]["last"]["images"]
    # the exported classifier is the one of the last round, and no longer the one-shot model
    from transformers import AutoModelForImageClassification

    exported = AutoModelForImageClassification.from_pretrained(out / "classifier").state_dict()
    shot = load_file(out / "train" / "selected.safetensors")
    final = state(out)
    assert all(np.array_equal(exported[name].numpy(), final[name]) for name in final)
    assert any(not np.array_equal(shot[name], final[name]) for name in final)
    text = (out / "report.md").read_text()
    assert "## Rounds" in text
    assert "2 rounds after it" in text
    assert "used once" not in text


def test_clients_hand_over_bytes_and_nothing_else_from_processes_of_their_own(
    settings: Settings, tmp_path: Path
) -> None:
    def take_part(isolation: str, rounds: int) -> Any:
        federation = {"name": "local", "isolation": isolation}
        given = settings(
            partition={"clients": 2},
            rounds={"count": rounds},
            federation=federation,
            algorithm={"name": "scaffold"},
        )
        return fgl.run(given, out=tmp_path / isolation)

    # uploads of processes are `test_run.py`'s, and each process imports all libraries: they do the second round alone
    take_part("none", 1)
    shutil.copytree(tmp_path / "none", tmp_path / "process")
    take_part("none", 2)
    result = take_part("process", 2)
    assert {"clients", "train"} <= set(result["reused_stages"])
    assert "rounds" not in result["reused_stages"]
    assert result["rounds"]["rounds"][1]["clients"] == ["client-00", "client-01"]
    assert same(tmp_path / "none", tmp_path / "process")
    # what a client keeps between rounds stays in its private folder
    for client in ("client-00", "client-01"):
        kept, apart = (
            tmp_path / isolation / "clients" / client / "private" / "rounds" / "own"
            for isolation in ("none", "process")
        )
        assert sorted(path.name for path in kept.iterdir()) == ["1.safetensors", "2.safetensors"]
        for path in kept.iterdir():
            assert path.read_bytes() == (apart / path.name).read_bytes()


def test_a_longer_training_goes_on_from_a_shorter_one(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = fgl.run(settings(rounds={"count": 1}), out=tmp_path / "grown")
    grown = fgl.run(settings(rounds={"count": 3}), out=tmp_path / "grown")
    at_once = fgl.run(settings(rounds={"count": 3}), out=tmp_path / "at-once")
    assert grown["rounds"]["rounds"][0] == first["rounds"]["rounds"][0]  # its seconds too: it was not done again
    assert same(tmp_path / "grown", tmp_path / "at-once")
    assert [one["top1"] for one in grown["rounds"]["rounds"]] == [one["top1"] for one in at_once["rounds"]["rounds"]]
    taken = [one["seconds"] for one in grown["rounds"]["rounds"]]
    assert grown["seconds"]["rounds"] >= sum(taken) - 0.01  # those of the first training too
    lines = [json.loads(line) for line in (tmp_path / "grown" / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if line["event"] == "round"]
    assert [(line["stage"], line["round"], line["clients"]) for line in told] == [("rounds", n, 3) for n in (1, 2, 3)]
    assert [line["loss"] for line in told] == [one["loss"] for one in grown["rounds"]["rounds"]]
    shorter = fgl.run(settings(rounds={"count": 2}), out=tmp_path / "grown")
    assert len(shorter["rounds"]["rounds"]) == 2
    assert "own: 3 rounds are there and 2 are asked for: trained anew" in caplog.text


def test_an_aggregation_rule_decides_and_says_what_it_left_out(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = {"count": 2, "aggregation": "krum", "drop": {2: ["client-00"]}, "start": "scratch"}
    result = fgl.run(settings(partition={"clients": 5}, rounds=rounds), out=tmp_path / "run")
    first, second = result["rounds"]["rounds"]
    assert first["rule"]["name"] == "krum"
    assert len(first["rule"]["left_out"]) == 4
    assert first["clients"] == [f"client-{number:02d}" for number in range(5)]
    refused = "krum with hostile=1 takes at least 2 x 1 + 3 = 5 updates, and a round has 4"
    assert (second["clients"], second["rule"]["refused"]) == ([], refused)
    assert first["top1"] == second["top1"]  # the model stayed as it was
    assert f"round 2: {refused}; the global model stays as it is" in caplog.text
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Aggregation rule krum, in 2 rounds: left out client-0" in text
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["left_out"] for line in lines if line["event"] == "round"] == [4, 0]
    few = settings(partition={"clients": 4}, rounds={"aggregation": "krum"})
    with pytest.raises(ConfigError, match=r"rounds.aggregation: got krum; krum with .* and a round has 4"):
        fgl.run(few, out=tmp_path / "few")


def test_a_client_counts_for_no_more_samples_than_its_upload_declared() -> None:
    held = {"a": range(30), "b": range(30), "c": range(30)}
    assert caps_of({"a": [10.0, 20.0], "b": [12.4, 0.0]}, held) == {"b": 12}
    assert caps_of({}, held) == {}


def test_only_what_was_asked_for_is_tested(settings: Settings, tmp_path: Path) -> None:
    result = fgl.run(settings(rounds={"count": 3, "evaluate_every": 2}), out=tmp_path / "run")
    assert [one["top1"] is None for one in result["rounds"]["rounds"]] == [True, False, False]


def test_the_server_may_fine_tune_on_the_synthetic_set(settings: Settings, tmp_path: Path) -> None:
    tuned = fgl.run(settings(rounds={"count": 1, "server_epochs": 2}), out=tmp_path / "tuned")
    fgl.run(settings(rounds={"count": 1}), out=tmp_path / "plain")
    assert tuned["rounds"]["rounds"][0]["server_loss"] > 0
    assert not same(tmp_path / "tuned", tmp_path / "plain")
    assert "fine-tuned" in (tmp_path / "tuned" / "report.md").read_text()


def test_options_of_local_training_are_others_than_the_servers(settings: Settings, tmp_path: Path) -> None:
    fgl.run(settings(rounds={"count": 1}), out=tmp_path / "plain")
    fgl.run(settings(rounds={"count": 1, "local": {"lr": 1e-9, "weight_decay": 0.0}}), out=tmp_path / "still")
    shot = load_file(tmp_path / "still" / "train" / "selected.safetensors")
    trained = [name for name in shot if name.endswith("weight")]
    assert all(np.allclose(state(tmp_path / "still")[name], shot[name], atol=1e-6) for name in trained)
    assert not all(np.allclose(state(tmp_path / "plain")[name], shot[name], atol=1e-6) for name in trained)


def test_clients_train_a_trained_model_on_at_a_rate_for_that_unless_told(settings: Settings, tmp_path: Path) -> None:
    """What `small` says of itself (Component.continuation_defaults): the same as naming it, and not what baselines
    do."""
    rate = {"lr": 0.0003}
    runs: dict[str, Any] = {"own": {}, "named": {"local": rate}, "other": {"local": {"lr": 0.004}}}
    for name, more in runs.items():
        changes = {"rounds": {"count": 1, **more}, "baselines": ["fedavg"]}
        runs[name] = fgl.run(settings(**changes), out=tmp_path / name)
    assert same(tmp_path / "own", tmp_path / "named")
    assert not same(tmp_path / "own", tmp_path / "other")
    fedavg = {name: (tmp_path / name / "rounds" / "fedavg-1" / "model.safetensors").read_bytes() for name in runs}
    assert fedavg["own"] == fedavg["other"] != fedavg["named"]


def test_a_share_of_the_clients_is_asked_and_not_always_the_same(settings: Settings, tmp_path: Path) -> None:
    result = fgl.run(settings(rounds={"count": 6, "fraction": 0.34, "evaluate_every": 6}), out=tmp_path / "run")
    asked = [tuple(one["clients"]) for one in result["rounds"]["rounds"]]
    assert all(len(clients) == 1 for clients in asked)
    assert len(set(asked)) > 1


def test_who_drops_out_is_named_and_a_round_without_anybody_changes_nothing(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    everybody = ["client-00", "client-01", "client-02"]
    drop = {1: ["client-01"], 2: everybody}
    result = fgl.run(settings(rounds={"count": 2, "drop": drop}), out=tmp_path / "run")
    first, second = result["rounds"]["rounds"]
    assert first["clients"] == ["client-00", "client-02"]
    assert first["dropped"] == ["client-01"]
    assert second["clients"] == []
    assert second["dropped"] == everybody
    assert second["bytes_up"] == second["bytes_down"] == 0
    assert second["top1"] == first["top1"]
    assert "round 2: all clients dropped out" in caplog.text
    report = (tmp_path / "run" / "report.md").read_text()
    assert report.count("(nobody answered: the model is as it was)") == 1
    assert "Of the model after the last round." in report
    with pytest.raises(DataError, match="in none of 2 rounds"):
        fgl.run(settings(rounds={"count": 2, "drop": {1: everybody, 2: everybody}}), out=tmp_path / "none")


def rounds_said(out: Path, count: int = 2) -> str:
    """What `fgl stages` says of the rounds, of which there are to be `count`."""
    session = reopen(out, NullProgress())
    config = session.config.model_copy(update={"rounds": session.config.rounds.model_copy(update={"count": count})})
    return {one.stage: one.why for one in stages(replace(session, config=config))}["rounds"]


def test_the_stages_of_a_run_with_drop_outs_are_done(settings: Settings, tmp_path: Path) -> None:
    fgl.run(settings(rounds={"count": 2, "drop": {1: ["client-01"]}}), out=tmp_path / "run")
    assert rounds_said(tmp_path / "run", 5) == "count: 2 → 5; 2 of 5 rounds are there"
    assert rounds_said(tmp_path / "run", 1) == "count: 2 → 1"
    assert {one.stage: one.state for one in stages(reopen(tmp_path / "run", NullProgress()))}["rounds"] == "done"


def test_the_lot_of_a_client_follows_from_the_seed(settings: Settings, tmp_path: Path) -> None:
    rounds = {"count": 8, "dropout": 0.5, "evaluate_every": 8}
    one = fgl.run(settings(rounds=rounds), out=tmp_path / "one")["rounds"]["rounds"]
    other = fgl.run(settings(rounds=rounds), out=tmp_path / "other")["rounds"]["rounds"]
    dropped = [entry["dropped"] for entry in one]
    assert dropped == [entry["dropped"] for entry in other]
    assert 0 < sum(map(len, dropped)) < 24


def test_training_that_diverges_says_where_and_keeps_the_last_good_model(settings: Settings, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    out = tmp_path / "run"
    fgl.run(settings(rounds={"count": 1}), out=out)
    wild = {"lr": 1e30, "optimizer": "sgd", "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    with pytest.raises(DivergedError, match=r"round 1: training diverged at client-00") as caught:
        fgl.run(settings(rounds={"count": 3, "local": wild}), out=out)
    folder = out / "rounds" / "own" / "classifier-round-0"
    assert str(folder) in str(caught.value)
    shot = load_file(out / "train" / "selected.safetensors")
    kept = AutoModelForImageClassification.from_pretrained(folder).state_dict()
    assert all(np.array_equal(kept[name].numpy(), shot[name]) for name in shot)


def test_updates_that_are_all_refused_for_their_numbers_are_divergence(settings: Settings, tmp_path: Path) -> None:
    """Finite and huge: training itself saw nothing wrong."""
    with pytest.raises(
        DivergedError, match=r"rule value: .*expected 0 to 1e\+06.*classifier-round-0.*rounds\.local\.lr"
    ) as caught:
        fgl.run(settings(rounds={"count": 2, "local": {"lr": 1e6, "weight_decay": 0.0}}), out=tmp_path / "run")
    assert "client-00" in str(caught.value)
    assert (tmp_path / "run" / "rounds" / "own" / "classifier-round-0" / "model.safetensors").is_file()


def test_fine_tuning_that_diverges_is_the_servers_fault(settings: Settings, tmp_path: Path) -> None:
    wild = {"lr": 1e9, "optimizer": "sgd", "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    changes = {"rounds": {"count": 2, "server_epochs": 2, "server": wild}}
    with pytest.raises(
        DivergedError, match=r"round 1: the server's fine-tuning.*classifier-round-0.*rounds\.server\.lr"
    ):
        fgl.run(settings(**changes), out=tmp_path / "run")


def test_a_client_with_one_image_and_one_with_one_class_take_part(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgl.plugins.partitioners.iid import IID

    def divide(self: object, labels: Any, domains: Any, seed: int) -> dict[str, list[int]]:
        first = [int(index) for index in np.flatnonzero(labels == 0)]
        rest = [int(index) for index in np.flatnonzero(labels != 0)]
        return {"one-class": first, "one-image": rest[:1], "others": rest[1:]}

    monkeypatch.setattr(IID, "partition", divide)
    settings_ = settings(classifier={"name": "resnet18", "image_size": 32, "batch_size": 8, "epochs": 1})
    result = fgl.run(settings_, out=tmp_path / "run")
    assert all(len(one["clients"]) == 3 for one in result["rounds"]["rounds"])
    assert all(np.isfinite(array).all() for array in state(tmp_path / "run").values())


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ({"count": -1}, "rounds.count"),
        ({"count": 2, "fraction": 0}, "rounds.fraction"),
        ({"count": 2, "dropout": 1.0}, "rounds.dropout"),
        ({"count": 2, "drop": {0: ["client-00"]}}, "rounds from 1"),
        ({"count": 2, "drop": {1: ["nobody"]}}, "nobody.*client-00"),
        ({"count": 2, "local": {"lrr": 1}}, "rounds.local.lrr.*lr"),
        ({"count": 2, "local": {"preset": "paper"}}, "rounds.local.preset"),
        ({"count": 2, "server": {"lr": -1}}, "rounds.server.lr"),
        ({"count": 2, "local": {"architecture": "resnet"}}, "rounds.local.architecture.*one network"),
        ({"count": 2, "server": {"config": {}}}, "rounds.server.config.*one network"),
        ({"count": 2, "local": {"epochs": 3}}, "rounds.local.epochs.*rounds.local_epochs instead"),
        ({"count": 2, "server": {"selection_slack": 1.0}}, "rounds.server.selection_slack.*nothing is selected"),
        ({"count": 2, "drop": {3: ["client-00"]}}, "rounds.drop.*1 to 2"),
        ({"cuont": 2}, "rounds.cuont.*count"),
    ],
)
def test_rounds_that_cannot_be_held_are_refused(
    settings: Settings, tmp_path: Path, rounds: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        fgl.run(settings(rounds=rounds), out=tmp_path / "run")


def test_options_of_baselines_are_checked(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"baseline_options\.fedprox\.mu"):
        fgl.run(settings(baseline_options={"fedprox": {"mu": -1}}), out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"baseline_options\.fedprx.*fedprox"):
        fgl.run(settings(baseline_options={"fedprx": {}}), out=tmp_path / "run")


@pytest.fixture
def killer(settings: Settings, tmp_path: Path) -> Killer:
    (tmp_path / "logs").mkdir()
    return Killer(settings(algorithm={"name": "scaffold"}), tmp_path / "logs")


def test_a_killed_training_loses_no_more_than_a_round(killer: Killer, tmp_path: Path) -> None:
    whole = killer.run(tmp_path / "whole")
    assert whole.code == 0
    writes = killer.log(tmp_path / "whole", "write")
    begin = next(index for index, line in enumerate(writes) if line.endswith("1.safetensors"))
    ends = [index for index, line in enumerate(writes) if line.endswith("state.safetensors")]
    assert len(ends) == 2
    # at the first client's own file, at a commit, between two, and after the last one
    for turn, index in enumerate((begin, ends[0], ends[0] + 1, ends[1])):
        out = tmp_path / f"killed-{index}"
        moment = ("before", "half", "after")[turn % 3]
        dead = killer.run(out, kill_at=index + 1, moment=moment)
        assert dead.killed
        assert rounds_said(out) == ("", "", "1 of 2 rounds are there", "1 of 2 rounds are there")[turn]
        again = killer.run(out)
        assert again.code == 0
        assert same(tmp_path / "whole", out)
        strip = [{k: v for k, v in one.items() if k != "seconds"} for one in again.result["rounds"]["rounds"]]
        assert strip == [{k: v for k, v in one.items() if k != "seconds"} for one in whole.result["rounds"]["rounds"]]
        rounds = [line for line in killer.log(out, "write") if line.endswith("state.safetensors")]
        assert len(rounds) <= 3


def test_what_a_damaged_state_held_is_trained_again(settings: Settings, tmp_path: Path) -> None:
    fgl.run(settings(), out=tmp_path / "run")
    before = state(tmp_path / "run")
    path = tmp_path / "run" / "rounds" / "own" / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (tmp_path / "run" / "rounds" / "own" / "model.safetensors").unlink()
    result = fgl.run(settings(), out=tmp_path / "run")
    assert "rounds" not in result["reused_stages"]
    assert all(np.array_equal(before[name], array) for name, array in state(tmp_path / "run").items())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["rounds"]["rounds"][1]["round"] == 2
