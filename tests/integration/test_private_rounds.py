"""Rounds at a stated price: what leaves a client is noised once, recorded, and all that the statement adds up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.core import orchestrator, private_rounds
from fgl.core.client import private_updates
from fgl.core.client.spending import PrivacyLedger
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.report import privacy_statement
from fgl.core.stages import round_state
from fgl.errors import ConfigError, DataError, PolicyError
from fgl.privacy import Cost
from tests.conftest import changed
from tests.helpers.settings import small

NOISE = {"name": "gaussian-noise", "level": "client", "sigma": 3.0}
TINY = {
    "name": "transformers",
    "architecture": "vit",
    "config": {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "patch_size": 8,
    },
}


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Callable[..., dict[str, Any]]:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(
            folder,
            pipeline,
            partition={"clients": 3},
            upload={"filters": [NOISE], "codec": "fp32"},
            rounds={"count": 2, "local_epochs": 1, "start": "scratch", "privacy": {"noise_multiplier": 1.0}},
        )
        base["classifier"] = {**TINY, "image_size": 16, "epochs": 1, "batch_size": 8}
        return changed(base, changes)

    return make


def ledger_of(run: Path, client: str) -> PrivacyLedger:
    return PrivacyLedger(run / "clients" / client / "private" / "ledger")


def test_a_round_is_noised_once_whatever_is_killed_and_the_statement_adds_it_up(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, drawn, run = private_rounds.add_noise, [], tmp_path / "run"

    def counting(*given: Any) -> Any:
        drawn.append(len(given[0]))
        return honest(*given)

    def dies(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(private_rounds, "add_noise", counting)
    with monkeypatch.context() as killed:
        killed.setattr(round_state, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            fgl.run(settings(), run, progress=False)
    assert len(drawn) == 3
    result = fgl.resume(run, progress=False)
    assert len(drawn) == 6  # one a client and round
    for entry in result["rounds"]["rounds"]:
        assert entry["clients"] == ["client-00", "client-01", "client-02"]
        assert (entry["samples"], entry["loss"], entry["failed"]) == (0, None, {})
    # the ledger has the upload and each round, at the level of clients, and the statement is their sum
    entries = ledger_of(run, "client-01").entries()
    assert [entry.level for entry in entries] == ["client"] * 3
    assert [entry.what for entry in entries[1:]] == [f"update of round {n} (own-scratch, client-01)" for n in (1, 2)]
    assert entries[1].mu == pytest.approx(1.0, rel=1e-5)
    total = sum((entry.cost for entry in entries), start=Cost(0.0))
    found = privacy_statement.of(orchestrator.reopen(run, fgl.NullProgress()))
    assert found.holds
    assert found.levels == ("client",)
    assert found.epsilon == pytest.approx(total.epsilon(found.delta), rel=1e-12)
    assert entries[-1].epsilon_in_all == pytest.approx(found.epsilon, rel=1e-12)
    assert result["privacy"]["epsilon"] == found.epsilon
    assert result["privacy"]["holds"] is True
    text = (run / "report.md").read_text()
    assert "Differentially private at the level of clients" in text
    assert "3 clients at noise multiplier 1: 3 updates add up to 3 clips at most" in text
    # the file is the record: rounds that are lost are put together again from what was answered, to the same bits
    assert result.get("damaged") in (None, {})
    model = load_file(run / "rounds" / "own" / "model.safetensors")
    for path in (run / "rounds").rglob("*.safetensors"):
        path.unlink()
    (run / "stages" / "rounds.json").unlink()
    fgl.resume(run, progress=False)
    assert len(drawn) == 6
    again = load_file(run / "rounds" / "own" / "model.safetensors")
    assert all(array.tobytes() == again[name].tobytes() for name, array in model.items())
    # what a client hands over is the model that was sent plus all of the noise, in every trained weight
    assert set(drawn) == {sum(array.size for array in model.values())}
    answers = run / "clients" / "client-01" / "private" / "ledger" / "answers"
    sent = load_file(answers / entries[1].answer)
    assert set(sent) == {f"model/{name}" for name in model}
    spread = np.concatenate([sent[f"model/{name}"].ravel() for name in model]).std()
    assert 0.9 < spread < 1.2  # weights of a fresh model are small beside noise of standard deviation 1
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("loss" not in line for line in lines if line["event"] == "round")


def test_a_client_whose_training_diverges_sends_noise_like_any_other_until_its_limit(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = settings(rounds={"count": 1, "local": {"lr": 1e30, "optimizer": "sgd"}})
    result = fgl.run(given, tmp_path / "run", progress=False)
    (entry,) = result["rounds"]["rounds"]
    assert entry["failed"] == {}
    assert len(entry["clients"]) == 3
    # one round more goes on from the first, and is above what these images may be put to
    limit = 1.01 * ledger_of(tmp_path / "run", "client-00").entries()[-1].epsilon_in_all
    more = changed(given, {"rounds": {"count": 2}, "privacy": {"max_epsilon": limit}})
    with pytest.raises(DataError, match=r"round 2: no client .* would cost more privacy than the site allows"):
        fgl.run(more, tmp_path / "run", progress=False)
    assert len(ledger_of(tmp_path / "run", "client-00").entries()) == 2


def test_votes_about_images_and_rounds_for_clients_are_priced_together_and_not_added_up(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run, votes = tmp_path / "run", {"rounds": 1, "candidates": 2, "pictures": 1, "sigma": 2.0, "space": "pixels"}
    given = settings(upload={"filters": []}, prompt_strategy="diversified", votes=votes)
    # a limit is for the level of the answer: for whole clients a vote counts as often as a client has images
    with pytest.raises(DataError, match=r"round 1: no client .* would cost more privacy than the site allows"):
        fgl.run(changed(given, {"privacy": {"max_epsilon": 20.0}}), run, progress=False)
    (vote,) = ledger_of(run, "client-00").entries()
    assert vote.level == "image"
    assert vote.epsilon < 20
    result = fgl.run(changed(given, {"privacy": {"max_epsilon": None}}), run, progress=False)
    entries = ledger_of(run, "client-00").entries()
    assert [entry.level for entry in entries] == ["image", "client", "client"]
    assert entries[0] == vote
    assert entries[1].mu == pytest.approx(1.0, rel=1e-5)
    delta = entries[0].delta
    for_clients = Cost(entries[0].count * vote.mu, entries[0].count * vote.slack)
    for_images = vote.cost
    for number, entry in enumerate(entries[1:], start=1):
        for_clients, for_images = for_clients + entry.cost, for_images + Cost(2 * entry.mu, 2 * entry.slack)
        assert entry.epsilon_in_all == pytest.approx(for_clients.epsilon(delta), rel=1e-12), number
    found = privacy_statement.of(orchestrator.reopen(run, fgl.NullProgress()))
    assert (found.holds, found.levels, found.mixed) == (True, ("image",), True)
    assert found.clients["client-00"].epsilon == pytest.approx(for_images.epsilon(delta), rel=1e-12)
    assert (result["privacy"]["levels"], result["privacy"]["epsilon"]) == (["image"], found.epsilon)
    said = " ".join(privacy_statement.in_words(found))
    assert "Protected (level client)" not in said
    for words in (said, (run / "report.md").read_text()):
        assert "Whole clients are not protected by it" in words


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"upload": {"filters": []}}, "rounds.privacy", "expected uploads with a price as well"),
        ({"rounds": {"start": "auto"}}, "rounds.start", "clients send exact counts"),
        ({"rounds": {"aggregation": "median"}}, "rounds.aggregation", "expected mean"),
        (
            {"algorithm": {"name": "scaffold"}},
            "algorithm",
            "expected fedadam, fedavg, fedprox: its clients send or keep",
        ),
        ({"rounds": {"privacy": {"epsilon": 1.0}}}, "rounds.privacy", "one of both"),
        ({"rounds": {"privacy": {"clop": 1.0}}}, "rounds.privacy.clop", "did you mean 'clip'?"),
        ({"evaluation": {"at_clients": True}}, "evaluation.at_clients", "without a price"),
    ],
)
def test_what_does_not_go_with_a_price_is_one_line(
    settings: Callable[..., dict[str, Any]], changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([settings(), changes], PluginManager.load().registry)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert words in problem.expected


def test_few_clients_and_statistics_that_nobody_would_estimate_are_refused_before_anything_runs(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    few = settings(rounds={"privacy": {"noise_multiplier": 2.0}})
    with pytest.raises(ConfigError, match=r"3 clients at noise multiplier 2: the noise is 1\.15 times the largest"):
        fgl.run(few, tmp_path / "few", progress=False)
    batch_norm = settings()
    batch_norm["classifier"] = {"name": "small", "epochs": 1, "image_size": 16, "batch_size": 8}
    with pytest.raises(
        ConfigError, match=r"rounds\.start: got scratch; expected rounds\.start=one-shot, or a classifier"
    ):
        fgl.run(batch_norm, tmp_path / "batch-norm", progress=False)
    assert not (tmp_path / "few" / "server").exists()


def test_a_site_with_a_limit_gives_no_exact_update(settings: Callable[..., dict[str, Any]]) -> None:
    registry = PluginManager.load().registry
    limited = resolve([settings(privacy={"max_epsilon": 1.0})], registry)
    with pytest.raises(PolicyError, match="exact updates have no price, and this site's limit is 1"):
        private_updates.priced({}, limited)
    assert private_updates.priced({"noise": 2}, limited) == limited.rounds.privacy
    plain = resolve([{}], registry)
    assert private_updates.priced({}, plain) is None
    with pytest.raises(ConfigError, match="expected clip, and epsilon or noise_multiplier"):
        private_updates.priced({"noise": 2}, plain)


@pytest.mark.parametrize("names", [[], ["count"], ["w", "other"]])
def test_a_server_cannot_have_less_noised_than_there_is(names: list[str]) -> None:
    model = {"w": np.zeros(3, np.float32), "count": np.array(3)}
    with pytest.raises(ConfigError, match="expected names of floating-point arrays of the model"):
        private_updates._trained({"trained": names}, model)
    assert private_updates._trained({"trained": ["w", "w"]}, model) == ["w"]
