"""Where rounds after the one-shot model start: clients tell by counts, and a useless model is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.contracts.federation import ClientFailure
from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config
from fgl.core.orchestrator import reopen
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.report.scores import RoundCounts
from fgl.core.session import Session
from fgl.core.stages import partition, pipeline, round_start, rounds, rounds_spec, train
from fgl.core.stages.rounds import RoundsResult
from fgl.core.status import stages
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import requests
from fgl.plugins.federations.local import LocalFederation
from tests.conftest import changed
from tests.helpers.settings import small

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(folder, pipeline, partition={"clients": 2}, rounds={"count": 2, "local_epochs": 1})
        return changed(base, changes)

    return make


def model(out: Path, name: str = "own") -> dict[str, np.ndarray]:
    return dict(load_file(out / "rounds" / name / "model.safetensors"))


def opened(settings: Mapping[str, Any], out: Path) -> Session:
    manager = PluginManager.load()
    out.mkdir(exist_ok=True)
    return open_session(load_config(dict(settings), manager), manager, RunDir(out), NullProgress())


def after_good_model(session: Session) -> RoundsResult:
    """The run's rounds after a model that knows the clients' images: trained on them."""
    known = session.classifier.fit(session.inputs("train"), None, train.context(session, "known")).state("last")
    with session.run.lock():
        done = pipeline.run(session, "partition")
        spec, held = rounds_spec.own_rounds_spec(session), partition.divided(session, done)
        start = rounds_spec.Start(state=lambda: known, digest="known", guess=1 / 3)
        return rounds.run(session, spec, held, done.made(partition.STAGE), start)


def test_a_useless_one_shot_model_is_not_trained_on_and_rounds_are_fedavg_to_the_bit(
    settings: Settings, tmp_path: Path
) -> None:
    """The pictures of a generator that was never trained teach nothing about the clients' images."""
    result = fgl.run(settings(rounds={"count": 1}, baselines=["fedavg"]), out=tmp_path / "run")
    start = result["rounds"]["start"]
    assert start["chosen"] == "scratch"
    assert start["candidates"] == []
    assert start["one_shot"]["total"] == 30, "all images that clients hold"
    ours, fedavg = model(tmp_path / "run"), model(tmp_path / "run", "fedavg-1")
    assert all(np.array_equal(ours[name], fedavg[name]) for name in fedavg)
    alone = result["rounds"]["rounds"][0]
    assert result["rounds"]["bytes_up"] == alone["bytes_up"] + start["one_shot"]["up"]
    assert result["rounds"]["bytes_down"] == alone["bytes_down"] + start["one_shot"]["down"]
    assert start["reason"] in result["warnings"]
    assert "no better than a guess" in (tmp_path / "run" / "report.md").read_text()
    assert {stage.state for stage in stages(reopen(tmp_path / "run", NullProgress()))} == {"done"}
    assert result["damaged"] == {}


def test_a_good_one_shot_model_is_tried_beside_scratch_and_kept_with_every_byte_counted(
    settings: Settings, tmp_path: Path
) -> None:
    session = opened(settings(classifier={"epochs": 12}), tmp_path / "run")
    result = after_good_model(session)
    start = result.start
    assert start is not None
    assert start.one_shot is not None
    assert start.one_shot.share > 0.9
    assert start.chosen in ("one-shot", "one-shot-fast")
    assert [one.name for one in start.candidates] == ["one-shot", "one-shot-fast", "scratch"]
    assert [one.left == "" for one in start.candidates] == [one.name == start.chosen for one in start.candidates]
    lost = [one for one in start.candidates if one.name != start.chosen]
    assert all(one.left.startswith("right on") for one in lost)
    tests = [start.one_shot, *(counts for one in start.candidates for counts in one.counts)]
    assert all(counts is not None and 0 <= counts.right <= counts.total == 30 for counts in tests)
    trained = sum(len(one.counts) for one in lost)
    sizes = {entry["bytes_up"] for entry in result.rounds}
    assert len(sizes) == 1, "each model is as large as any other"
    replies = sum(counts.up for counts in tests if counts is not None)
    assert result.bytes_up == (len(result.rounds) + trained) * sizes.pop() + replies
    # only counts have gone up for it
    assert all(set(counts) == {"right", "total", "down", "up"} for counts in (e["counts"] for e in result.rounds))


def test_a_longer_training_decides_as_one_at_once_and_a_second_call_reuses_it(
    settings: Settings, tmp_path: Path
) -> None:
    ways = {"by-step": (1, 3), "at-once": (3,)}
    results = {}
    for name, counts in ways.items():
        for count in counts:
            options = settings(classifier={"epochs": 6}, rounds={"count": count})
            results[name] = after_good_model(opened(options, tmp_path / name))
    grown, at_once = results["by-step"].start, results["at-once"].start
    assert grown is not None
    assert at_once is not None
    assert (grown.chosen, grown.candidates) == (at_once.chosen, at_once.candidates)
    first, second = model(tmp_path / "by-step"), model(tmp_path / "at-once")
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    session = opened(settings(classifier={"epochs": 6}, rounds={"count": 3}), tmp_path / "by-step")
    assert after_good_model(session).start == grown
    assert session.reused == ["partition", "rounds"]


def without_counts(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Clients answer everything but how good a model is. after: how many of them are yet to say that."""
    given: list[str] = []
    call = LocalFederation.call

    def fails(
        federation: LocalFederation, client_ids: Sequence[str], task: str, *rest: Any
    ) -> Iterator[tuple[str, bytes | ClientFailure]]:
        for client_id, reply in call(federation, client_ids, task, *rest):
            given.extend([client_id] if task == requests.EVALUATE else [])
            refused = task == requests.EVALUATE and len(given) > after
            yield client_id, ClientFailure(client_id, "`evaluate` is not allowed here") if refused else reply

    monkeypatch.setattr(LocalFederation, "call", fails)


def test_without_counts_of_the_one_shot_model_rounds_start_from_it_and_the_report_says_why(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_counts(monkeypatch)
    result = fgl.run(settings(), out=tmp_path / "run")
    start = result["rounds"]["start"]
    assert (start["chosen"], start["one_shot"], start["candidates"]) == ("one-shot", None, [])
    assert "(client-00, client-01: `evaluate` is not allowed here): it could not be compared" in start["reason"]
    assert start["reason"] in result["warnings"]
    assert "could not be compared, and rounds start from it" in (tmp_path / "run" / "report.md").read_text()
    rounds_done = result["rounds"]["rounds"]
    assert [entry["clients"] for entry in rounds_done] == [["client-00", "client-01"]] * 2
    assert not any("counts" in entry for entry in rounds_done)
    asked_in_vain = result["rounds"]["bytes_down"] - sum(entry["bytes_down"] for entry in rounds_done)
    assert asked_in_vain == start["bytes"]["down"] > 2 * result["rounds"]["model_bytes"]
    fgl.run(settings(rounds={"start": "one-shot"}), out=tmp_path / "stated")
    ours, stated = model(tmp_path / "run"), model(tmp_path / "stated")
    assert all(np.array_equal(ours[name], stated[name]) for name in stated)


@pytest.mark.parametrize("why", ["failed", "dropped out"])
def test_a_trial_without_counts_goes_on_from_the_good_one_shot_model(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    everybody, has_failed = ["client-00", "client-01"], why == "failed"
    if has_failed:
        without_counts(monkeypatch, after=2)
    drop = {} if has_failed else {1: everybody, 2: everybody}
    options = settings(classifier={"epochs": 6}, rounds={"count": 3, "trial_rounds": 2, "drop": drop})
    session = opened(options, tmp_path / "run")
    result = after_good_model(session)
    start = result.start
    assert start is not None
    assert start.one_shot is not None
    assert start.chosen == "one-shot"
    assert [one.counts for one in start.candidates] == [[None, None]] * 3
    assert [one.left for one in start.candidates] == ["", *["no client gave counts in 2 rounds of it"] * 2]
    known = f"the one-shot model is right on {start.one_shot.share:.1%}, a guess on 33.3%"
    assert start.reason == f"from the one-shot model: no client gave counts in 2 rounds of it; {known}"
    assert not round_start.is_compared(start)
    assert [len(entry["clients"]) for entry in result.rounds] == ([2, 2, 2] if has_failed else [0, 0, 2])
    in_vain = start.bytes.down - start.one_shot.down - (4 * result.rounds[-1]["bytes_down"] if has_failed else 0)
    assert in_vain > 6 * 2 * result.model_bytes if has_failed else in_vain == 0
    assert after_good_model(opened(options, tmp_path / "run")).start == start


def test_rounds_that_nobody_was_asked_to_count_are_trained_again_for_a_trial(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose configuration said where rounds start, and now leaves it to the clients."""
    good, one = {"epochs": 6}, {"count": 1}
    after_good_model(opened(settings(classifier=good, rounds={**one, "start": "one-shot"}), tmp_path / "run"))
    anew = "there are rounds that no client was asked to test"
    assert anew not in caplog.text
    grown = after_good_model(opened(settings(classifier=good, rounds=one), tmp_path / "run")).start
    assert anew in caplog.text
    # a name as long as the other's: what is sent to simulated clients holds the path of their folder
    at_once = after_good_model(opened(settings(classifier=good, rounds=one), tmp_path / "new")).start
    assert grown is not None
    assert at_once is not None
    assert (grown.chosen, grown.candidates) == (at_once.chosen, at_once.candidates)
    assert None not in grown.candidates[0].counts


def test_the_configuration_may_say_where_rounds_start(settings: Settings, tmp_path: Path) -> None:
    for start in ("one-shot", "scratch"):
        result = fgl.run(settings(rounds={"count": 1, "start": start}), out=tmp_path / start)
        assert "start" not in result["rounds"]
        assert result["config"]["rounds"]["start"] == start
    one_shot, scratch = model(tmp_path / "one-shot"), model(tmp_path / "scratch")
    assert any(not np.array_equal(one_shot[name], scratch[name]) for name in scratch)


def test_stages_of_a_run_whose_start_is_stated_keep_the_inputs_that_they_had(
    settings: Settings, tmp_path: Path
) -> None:
    session = opened(settings(rounds={"start": "one-shot"}), tmp_path / "run")
    spec = rounds_spec.own_rounds_spec(session)
    inputs = rounds.inputs_of(session, spec, "partition", rounds_spec.Start(digest="train", guess=0.5))
    assert not {"start_of", "trial_rounds", "choice"} & set(inputs)
    how = inputs["rounds"]
    assert isinstance(how, dict)
    assert set(how) == {"fraction", "dropout", "drop", "max_update_ratio", "evaluate_every"}


@pytest.mark.parametrize(
    ("right", "guess", "useless"),
    [(10, 0.1, True), (13, 0.1, True), (25, 0.1, False), (60, 0.6, True), (90, 0.6, False)],
)
def test_a_model_within_two_standard_errors_of_a_guess_is_useless(right: int, guess: float, useless: bool) -> None:
    assert round_start.is_useless(RoundCounts(right=right, total=100, down=0, up=0), guess) is useless


def test_a_guess_at_the_clients_is_any_class_or_always_the_largest() -> None:
    assert rounds.guess_of({"a": [5, 5], "b": [5, 5]}) == 0.5
    assert rounds.guess_of({"a": [9, 0, 1], "b": [7, 3, 0]}) == 0.8
    assert rounds.guess_of({}) == 0


def test_who_starts_from_scratch_is_given_time() -> None:
    """A first average of fresh models gains little, and the next ones much."""
    assert round_start.climb(round_start.SCRATCH, 0.1, [0.1]) == pytest.approx(0.1)
    assert round_start.climb(round_start.SCRATCH, 0.1, [0.1, 0.3]) == pytest.approx(0.2)
    assert round_start.climb(round_start.ONE_SHOT, 0.5, [0.6, 0.6]) == pytest.approx(0.05)
    assert round_start.climb(round_start.FAST, 0.5, [None, 0.4]) == pytest.approx(0.05)
