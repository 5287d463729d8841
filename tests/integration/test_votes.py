"""Clients' images vote, and the run synthesizes what they voted for."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fgl
from fgl.contracts.boundary import simulated
from fgl.contracts.generator import Shard
from fgl.core import orchestrator, voting
from fgl.core.client import prepare
from fgl.core.client import site as client_site
from fgl.core.client import voting as client_voting
from fgl.core.config.saved import load_config
from fgl.core.data import decode
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.server import forget, vote_store
from fgl.core.stages import pipeline, plan, vote_rounds
from fgl.core.status import stages
from fgl.core.store.run_dir import RunDir
from fgl.core.synthesis.per_client import client_of
from fgl.core.synthesis.shards import read_shards
from fgl.core.wire import ballots, requests
from fgl.errors import BudgetError, ConfigError, FGLError, LedgerError, PolicyError, UploadError
from fgl.privacy import sigma_of
from tests.helpers.settings import small


@pytest.fixture
def config(images: Callable[..., Path], pipeline: Path) -> Callable[..., dict[str, Any]]:
    root = images(per_class=12)

    def make(clients: int = 2, **votes: Any) -> dict[str, Any]:
        asked = {"rounds": 2, "candidates": 4, "pictures": 2, **votes}
        parted = {"name": "iid", "clients": clients}
        return {**small(root, pipeline), "partition": parted, "prompt_strategy": "diversified", "votes": asked}

    return make


def votes_of(run: Path, number: int) -> dict[str, Any]:
    found = orchestrator.reopen(run, fgl.NullProgress()).run.read_sealed(
        run / "server" / "votes" / f"round-{number}.json"
    )
    assert found is not None
    return found


def test_what_is_synthesized_follows_from_texts_and_votes_alone(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    result = fgl.run(config(), tmp_path / "run", progress=False)
    found = result["upload"]["votes"]
    assert not (tmp_path / "run" / "server" / "uploads").exists()
    assert result["upload"]["weight_per_class"] == {}
    assert sorted(result["upload"]["bytes_per_client"]) == ["client-00", "client-01"]
    assert result["upload"]["bytes_total"] < 6000
    assert len(found["rounds"]) == 2
    assert {text["class_id"] for text in found["texts"]} == {0, 1, 2}
    for class_id in range(3):
        assert sum(text["share"] for text in found["texts"] if text["class_id"] == class_id) == pytest.approx(1)
    # without noise, a client's votes are its images, each for the candidate of its class that it is nearest to
    for number in (1, 2):
        votes = votes_of(tmp_path / "run", number)["votes"]
        whole = np.sum([votes[name] for name in sorted(votes)], axis=0)
        assert whole.sum() == 30  # of twelve images of a class, two are test images
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "no embedding, no prompt and no exact class count" in report
    assert "no guarantee" in report
    assert "No differential privacy is claimed" in report
    for client, size in result["upload"]["bytes_per_client"].items():
        assert size == sum(one["bytes_per_client"][client] for one in found["rounds"])
    again = fgl.resume(tmp_path / "run", progress=False)
    assert again.digest == result.digest
    assert {"clients", "plan", "synthesize"} <= set(again["reused_stages"])


def test_an_image_votes_for_the_nearest_candidate_of_its_class(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    fgl.run(config(rounds=1), tmp_path / "run", progress=False)
    session = orchestrator.reopen(tmp_path / "run", fgl.NullProgress())
    kept = votes_of(tmp_path / "run", 1)
    extractor = voting.extractor_of(
        session.config, session.manager, session.classifier, session.info.class_names, session.device
    )
    candidates = np.array([one["class_id"] for one in kept["candidates"]])
    expected = voting.expected(session.config, session.info.class_names, extractor)
    data = (tmp_path / "run" / "server" / "votes" / "ballot-1.safetensors").read_bytes()
    features = ballots.read_ballot(data, expected).features
    train, parts = session.split("train"), session.run.read_json(session.run.partition_file)
    for client, rows in parts.items():
        wanted = np.zeros(len(candidates))
        for row in rows:
            pixels = decode(
                fgl.contracts.dataset.Subset(train, [row]), session.image_size, fgl.NullProgress(), ""
            ).pixels
            point = extractor.features(pixels, fgl.NullProgress())[0]
            distances = np.linalg.norm(features.astype(np.float64) - point, axis=1)
            distances[candidates != train.labels[row]] = np.inf
            wanted[distances.argmin()] += 1
        assert kept["votes"][client] == wanted.tolist()


def test_noise_is_new_in_each_run_and_a_killed_run_draws_none_again(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**config(epsilon=4.0), "privacy": {"delta": 1e-3, "max_epsilon": 4.0}}
    one = fgl.run(given, tmp_path / "one", progress=False)
    found = one["upload"]["votes"]
    assert found["deviation"] == pytest.approx(sigma_of(4.0, 1e-3, 2), rel=0.01)
    assert found["rounds"][0]["deviation"] == pytest.approx(found["deviation"] * 2**0.5)
    report = (tmp_path / "one" / "report.md").read_text(encoding="utf-8")
    assert "Differentially private at the level of images: epsilon 3.992 at delta 0.001 for every client" in report
    fgl.run(given, tmp_path / "two", progress=False)
    assert votes_of(tmp_path / "one", 1)["votes"] != votes_of(tmp_path / "two", 1)["votes"]
    assert votes_of(tmp_path / "one", 1)["ballot"] == votes_of(tmp_path / "two", 1)["ballot"]
    honest, drawn = client_voting.add_noise, []

    def counting(*given: Any) -> Any:
        drawn.append(1)
        return honest(*given)

    def dies(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(client_voting, "add_noise", counting)
    with monkeypatch.context() as killed:
        killed.setattr(ballots, "read_vote", dies)
        with pytest.raises(KeyboardInterrupt):
            fgl.run(given, tmp_path / "killed", progress=False)
    assert drawn
    fgl.resume(tmp_path / "killed", progress=False)
    assert len(drawn) == 4  # one a client and round
    ledger = tmp_path / "killed" / "clients" / "client-00" / "private" / "ledger" / "ledger.jsonl"
    assert len(ledger.read_text().splitlines()) == 1 + 2
    fgl.resume(tmp_path / "killed", progress=False)
    assert len(drawn) == 4


def test_votes_of_a_client_that_is_taken_out_go_at_once(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    fgl.run(config(rounds=1, sigma=2.0), tmp_path / "run", progress=False)
    before = votes_of(tmp_path / "run", 1)["votes"]
    session = orchestrator.reopen(tmp_path / "run", fgl.NullProgress())
    with session.run.lock():
        forget.forget(session, ["client-00", "client-01"], "client-01")
    # what was made before anybody was asked stays, and nothing else
    left = {path.name for path in (tmp_path / "run").glob("server/votes/*")}
    assert left == {"ballot-1.safetensors", "ballot-1.json"}
    fgl.resume(tmp_path / "run", progress=False)
    # the other one has not voted anew: its answer to the ballot is the one that it gave
    assert votes_of(tmp_path / "run", 1)["votes"] == {"client-00": before["client-00"]}


def test_a_client_answers_one_ballot_a_round(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    fgl.run(config(rounds=1, sigma=2.0), tmp_path / "run", progress=False)
    session = orchestrator.reopen(tmp_path / "run", fgl.NullProgress())
    data = (tmp_path / "run" / "server" / "votes" / "ballot-1.safetensors").read_bytes()
    private = tmp_path / "run" / "clients" / "client-00" / "private"
    request = {
        "config": session.config.to_dict(),
        "client_id": "client-00",
        "device": session.device,
        "data": session.info.digest,
        "private": str(private),
        "ledger": str(private / "ledger"),
    }
    with simulated():
        first = client_voting.answer(request, data)
        assert client_voting.answer(request, data) == first
        site = client_site.site_of(request)
        extractor = voting.extractor_of(session.config, site.manager, site.classifier, site.class_names, "cpu")
        expected = voting.expected(session.config, site.class_names, extractor)
        ballot = ballots.read_ballot(data, expected)
        features = ballot.features + 1
        other = ballots.encode_ballot(
            ballots.Ballot("", 1, ballot.size, ballot.space, features, ballot.class_id), site.class_names
        )
        with pytest.raises(UploadError, match="another ballot of round 1 was answered"):
            client_voting.answer(request, other)
        # noise of another price cannot be stated for a vote that was given before
        for change in ({"sigma": 4.0}, {"sigma": None}, {"level": "client"}, {"sigma": None, "epsilon": 0.5}):
            changed = {**session.config.to_dict(), "votes": {**session.config.to_dict()["votes"], **change}}
            with pytest.raises(UploadError, match="answered with noise of a standard deviation of 2 at the level of"):
                client_voting.answer({**request, "config": changed}, data)
        (answer,) = (private / "ledger" / "answers").iterdir()
        answer.write_bytes(b"cut")
        with pytest.raises(LedgerError, match="would be paid for again"):
            client_voting.answer(request, data)
        # another run, in another folder, asks about the same images: it is another question, and is paid for
        limited = {**session.config.to_dict(), "upload": {"run_id": "another"}, "privacy": {"max_epsilon": 0.1}}
        fresh = ballots.encode_ballot(
            ballots.Ballot("another", 1, ballot.size, ballot.space, ballot.features, ballot.class_id), site.class_names
        )
        with pytest.raises(BudgetError, match="costs epsilon"):
            client_voting.answer({**request, "config": limited}, fresh)
        exact = {**limited, "votes": {**limited["votes"], "sigma": None}}
        with pytest.raises(PolicyError, match="exact votes have no price"):
            client_voting.answer({**request, "config": exact}, fresh)
    client_site.release()


def test_classes_of_which_nobody_knows_what_they_are_called_find_a_name_each(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    asked = config(rounds=1, candidates=4, pictures=1, names=["sun", "moon", "star", "cloud"])
    found = fgl.run({**asked, "prompt_strategy": "class-name"}, tmp_path / "run", progress=False)["upload"]["votes"]
    texts = [text["text"] for text in found["texts"]]
    assert len(set(texts)) == len(texts), "images of one text would be of two classes"
    assert {text["class_id"] for text in found["texts"]} == {0, 1, 2}
    # shadow models vote with the images that they are made of; there is no row of a client to look up, which it says
    audited = fgl.audit(tmp_path / "run", features="pixels", shadows=4, methods=["fgl"], progress=False)
    assert set(audited.left_out) == {"uploads"}
    assert audited.membership["methods"]["fgl"]["title"] == "fgl one-shot, class-name prompts, voted on"
    expected = {"names": "at least 3", "candidates": "at least 3", "variation": "grammar or none"}
    for key, few in (("names", ["sun", "moon"]), ("candidates", 2), ("variation", "img2img")):
        with pytest.raises(ConfigError, match=rf"votes.{key}.*expected {expected[key]}"):
            fgl.run({**asked, "votes": {**asked["votes"], key: few}}, tmp_path / key, progress=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"votes": {"rounds": 1, "level": "client", "epsilon": 1.0}}, "the noise is larger than all votes"),
        ({"votes": {"rounds": 1}, "rounds": {"count": 1}}, "rounds.count"),
        ({"votes": {"rounds": 1}, "evaluation": {"at_clients": True}}, "evaluation.at_clients"),
        ({"votes": {"rounds": 1}, "prompt_strategy": "learned"}, "a grammar"),
        ({"votes": {"rounds": 1}, "upload": {"clients": ["north"]}, "remote": True}, "an id of this run"),
        ({"votes": {"rounds": 1, "space": "trained"}}, "does not learn"),
        ({"votes": {"rounds": 1, "epsilon": 1.0, "sigma": 1.0}}, "not both"),
        ({"votes": {"rounds": 1, "epsilon": -1.0}}, "more than 0"),
        ({"votes": {"rounds": 1, "strength": [0.5, 0.0]}}, "more than 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    config: Callable[..., dict[str, Any]], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    remote = bool(changes.get("remote"))
    changes = {key: value for key, value in changes.items() if key != "remote"}
    manager = PluginManager.load()

    def opened() -> None:
        given = load_config({**config(), **changes}, manager)
        open_session(given, manager, RunDir(tmp_path / "run"), fgl.NullProgress(), remote_clients=remote)

    with pytest.raises(ConfigError, match=words):
        opened()
    assert not (tmp_path / "run" / "server").exists()


def test_a_client_of_a_run_of_votes_sends_no_upload(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    given = load_config(config(sigma=2.0), PluginManager.load())
    request = requests.prepare_request(given, "client-00", requests.ROUND, tmp_path / "private", "cpu", "")
    with simulated(), pytest.raises(ConfigError, match="send no upload"):
        prepare.prepare(request)
    client_site.release()


def test_one_image_more_moves_the_votes_by_one(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """The sensitivity that the noise is for, by brute force: every image of a client, left out."""
    fgl.run(config(clients=1, rounds=1), tmp_path / "run", progress=False)
    session = orchestrator.reopen(tmp_path / "run", fgl.NullProgress())
    data = (tmp_path / "run" / "server" / "votes" / "ballot-1.safetensors").read_bytes()
    request = {
        "config": session.config.to_dict(),
        "client_id": "client-00",
        "device": "cpu",
        "data": session.info.digest,
    }
    with simulated():
        site = client_site.site_of(request)
        extractor = voting.extractor_of(session.config, site.manager, site.classifier, site.class_names, "cpu")
        expected = voting.expected(session.config, site.class_names, extractor)
        ballot = ballots.read_ballot(data, expected)
        held = list(site.partition["client-00"])
        whole = client_voting._counts(site, "client-00", extractor, ballot)
        try:
            for row in held[::5]:
                site.partition["client-00"] = [one for one in held if one != row]
                without = client_voting._counts(site, "client-00", extractor, ballot)
                assert np.linalg.norm(whole - without) == 1
        finally:
            site.partition["client-00"] = held
    client_site.release()


def test_pictures_that_images_voted_for_are_varied_and_the_set_is_varied_from_them(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(1, variation="img2img", strength=[0.9, 0.5], candidates=3)
    given["generator"] |= {"num_inference_steps": 2}
    whole = fgl.run(given, tmp_path / "run", progress=False)
    session = orchestrator.reopen(tmp_path / "run", fgl.NullProgress())
    first, second = votes_of(tmp_path / "run", 1), votes_of(tmp_path / "run", 2)
    texts = [one["text"] for one in first["candidates"]]
    assert all(one["pictures"] == "" for one in first["candidates"])
    varied = [one for one in second["candidates"] if one["pictures"]]
    kept = [one for one in second["candidates"] if one["origin"] >= 0 and not one["pictures"]]
    assert varied
    assert kept
    assert all(one["text"] == texts[one["origin"]] for one in (*varied, *kept))
    pictures = vote_store.pictures(session.run, 2)
    assert pictures is not None
    assert pictures.shape == (len(second["candidates"]), 2, *session.image_size, 3)
    assert not vote_store.pictures_path(session.run, 1).exists()
    # an image of the set is the generator's variation of a picture that was voted for
    planned = plan.planned(session, pipeline.run(session, "synthesize"))
    row, rgb = next(read_shards(session.run.shards, planned.shards))
    (item,) = (one for one in planned.items if one.image_id == row["image_id"])
    candidate = int(client_of(planned.conditioning, item.conditioning).removeprefix("candidate-"))
    assert candidate in {one["candidate"] for one in whole["upload"]["votes"]["texts"]}
    original = pictures[candidate][int(item.image_id, 16) % 2]
    varying = session.generator.varying("cpu", lambda item: original, 0.5)
    (batch,) = varying.synthesize(Shard(0, (item,)), planned.conditioning, lambda count: None)
    assert (batch.pixels[0] == rgb).all()
    # killed after the votes, and with its pictures lost, a run comes to the same
    with monkeypatch.context() as killed:

        def dies(*arguments: Any) -> Any:
            raise KeyboardInterrupt

        killed.setattr(vote_rounds.Vote, "keep_pictures", dies)
        with pytest.raises(KeyboardInterrupt):
            fgl.run(given, tmp_path / "again", progress=False)
    for number in (1, 2):
        vote_store.pictures_path(RunDir(tmp_path / "again"), number).unlink()
    assert fgl.resume(tmp_path / "again", progress=False).digest == whole.digest
    assert (vote_store.pictures(RunDir(tmp_path / "again"), 2) == pictures).all()
    reopened = orchestrator.reopen(tmp_path / "again", fgl.NullProgress())
    assert {one.state for one in stages(reopened)} == {"done"}


def test_a_run_whose_noise_was_changed_after_the_vote_does_not_claim_the_new_price(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    fgl.run(config(rounds=1, epsilon=8.0), tmp_path / "run", progress=False)
    with pytest.raises(FGLError, match="another ballot or with other noise; another vote is another run"):
        fgl.run(config(rounds=1, epsilon=1.0), tmp_path / "run", progress=False)
    again = fgl.run(config(rounds=1, epsilon=8.0), tmp_path / "run", progress=False)
    assert again["upload"]["votes"]["deviation"] == pytest.approx(sigma_of(8.0, 1e-5, 1), rel=0.01)


def test_texts_of_a_prompts_file_are_put_to_the_vote(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path, given = tmp_path / "prompts.csv", config(rounds=1, candidates=4)
    names = sorted(one.name for one in (tmp_path / "images").iterdir())
    rows = [(name, f"{kind} {number}") for number, name in enumerate(names) for kind in ("a photo of", "a drawing of")]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("class", "prompt"), *rows[:-2]])
    given |= {"prompt_strategy": {"name": "prompts-file", "path": str(path)}}
    with pytest.raises(ConfigError, match="expected texts of '林地', as prompts call that class"):
        fgl.run(given, tmp_path / "run", progress=False)
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows[-2:])
    fgl.run(given, tmp_path / "run", progress=False)
    assert {one["text"] for one in votes_of(tmp_path / "run", 1)["candidates"]} == {text for _, text in rows}
