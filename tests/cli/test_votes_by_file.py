"""Votes over files: a ballot goes out, votes come back, from one command line to the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import fgl as library
from fgl.core.orchestrator import digest
from fgl.core.server import log
from fgl.core.store.run_dir import RunDir
from fgl.core.wire import ballots, signatures
from fgl.io import keys
from tests.helpers import commits
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]
CONFIG = ("--config", "shared.yaml", "--config", "server.yaml")
SITES = ("north", "south", "west")


def write(name: str, settings: dict[str, Any]) -> None:
    Path(name).write_text(yaml.safe_dump(settings))


def changed(name: str, **changes: Any) -> None:
    """Change sections of a file, and keep the rest of each."""
    settings = yaml.safe_load(Path(name).read_text())
    write(name, settings | {key: {**settings.get(key, {}), **value} for key, value in changes.items()})


@pytest.fixture
def sites(fgl: Typed, tmp_path: Path, pipeline: Path) -> Typed:
    """`fgl` in a folder with shared.yaml, server.yaml with the keys of three hospitals, and a file of each."""
    draw = np.random.default_rng(0)
    for index, name in enumerate(CLASSES):
        folder = tmp_path / "slides" / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = draw.integers(0, 90, (16, 16, 3)) + 120 * index
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    generator = {"name": "stable-diffusion", "model": str(pipeline), "num_inference_steps": 1, "guidance_scale": 1.0}
    shared = {
        "dataset": {"class_names": CLASSES},
        "prompt_strategy": "diversified",
        "generator": {**generator, "dtype": "fp32"},
        "upload": {"clients": list(SITES), "run_id": "skin-1"},
        "votes": {"rounds": 2, "candidates": 3, "pictures": 1, "epsilon": 4.0, "space": "pixels"},
        "privacy": {"delta": 1e-3},
        "synthesis": {"images_per_class": 2},
        "classifier": {"name": "small", "epochs": 1, "image_size": 16},
        "baselines": "none",
    }
    write("shared.yaml", shared)
    for name in (*SITES, "other", "officer"):
        keys.write_pair(Path(name), *keys.client_pair())
        rules = {"tasks": ["vote"], "paths": [str(pipeline)], "ledger": str(tmp_path / f"{name}.ledger")}
        write(f"{name}.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}, "site": rules})
    keys.write_pair(Path("server"), *keys.server_pair())
    listed = {name: Path(f"{name}.pub").read_text().strip() for name in SITES}
    write("server.yaml", {"dataset": {"name": "imagefolder", "path": "slides"}, "server": {"keys": listed}})
    return fgl


def said(fgl: Typed, *arguments: str, code: int = 0) -> dict[str, Any]:
    found = fgl(*arguments, "--json")
    assert found.code == code, found.out + found.err
    return dict(json.loads(found.out))


def vote(fgl: Typed, name: str, number: int = 1, *more: str) -> dict[str, Any]:
    """What `fgl client vote` says; signed with the hospital's key."""
    words = ("client", "vote", f"ballot-{number}.safetensors", "shared.yaml", f"{name}.yaml", "--client", name)
    return said(fgl, *words, "--key", f"{name}.key", *more)


def ingested(fgl: Typed, *names: str, code: int = 0, more: tuple[str, ...] = ()) -> dict[str, Any]:
    return said(fgl, "server", "ingest", "run", *names, *more, code=code)


def failure(fgl: Typed, *arguments: str, code: int) -> str:
    """The one line that a command ends with."""
    found = fgl(*arguments)
    assert found.code == code, found.out + found.err
    assert "Traceback" not in found.err
    line = found.err.strip().splitlines()[-1]
    assert line.startswith(("error:", "  ")), found.err
    return line


def test_votes_that_went_over_give_what_one_process_gives(sites: Typed) -> None:
    """The same ballots, byte for byte, and so the same images; without noise, as two runs draw none alike."""
    shared = yaml.safe_load(Path("shared.yaml").read_text())
    shared["votes"] |= {"epsilon": None, "variation": "img2img"}
    shared |= {"upload": {"run_id": "skin-1"}, "partition": {"name": "iid", "clients": 2}}
    shared["dataset"] = {"name": "imagefolder", "path": "slides", **shared["dataset"]}
    write("simulated.yaml", shared)
    whole = library.run("simulated.yaml", "whole", progress=False)
    for number in (1, 2):
        found = said(sites, "server", "ballot", "run", "--config", "simulated.yaml")
        assert (found["round"], found["missing"]) == (number, ["client-00", "client-01"])
        kept = Path(f"whole/server/votes/ballot-{number}.safetensors").read_bytes()
        assert Path(found["file"]).read_bytes() == kept
        for name in found["missing"]:
            words = ("client", "vote", found["file"], "simulated.yaml", "--simulate", "--client", name)
            assert said(sites, *words)["spent"] is None
            ingested(sites, f"{name}.vote-{number}.safetensors")
    result = said(sites, "server", "run", "run", "--quiet")
    assert result["synthetic"]["digest"] == whole["synthetic"]["digest"] == digest("run")
    assert result["upload"]["votes"]["texts"] == whole["upload"]["votes"]["texts"]
    assert result["upload"]["bytes_per_client"] == whole["upload"]["bytes_per_client"]
    states = {one["stage"]: one["state"] for one in said(sites, "stages", "run")["stages"]}
    assert set(states.values()) == {"done"}


def test_hospitals_vote_with_keys_seals_and_approval(sites: Typed) -> None:
    rules = {"kinds": ["vote"], "min_images_per_number": 5, "max_epsilon": 4.0}
    changed("north.yaml", site={"egress": rules})
    changed("server.yaml", server={"approvers": {"north": Path("officer.pub").read_text().strip()}})
    found = said(sites, "server", "ballot", "run", *CONFIG)
    assert (found["file"], found["round"], found["voted"]) == ("ballot-1.safetensors", 1, [])
    told = vote(sites, "north")
    assert told["bytes"] < 640
    assert (told["candidates"], told["again"], told["spent"]["level"]) == (6, False, "image")
    before = Path("north.vote-1.safetensors").read_bytes()
    Path("north.vote-1.safetensors").unlink()
    again = vote(sites, "north")
    assert (again["again"], again["spent"]) == (True, told["spent"])
    assert Path("north.vote-1.safetensors").read_bytes() == before
    review = said(sites, "client", "review", "north.vote-1.safetensors", "shared.yaml", "north.yaml")
    assert (review["kind"], review["round"], review["verdict"]) == ("vote", 1, "approve")
    assert review["spent"] == told["spent"]
    assert "one for each candidate" in review["says"][0]
    approve = ("client", "approve", "north.vote-1.safetensors", "shared.yaml", "north.yaml", "--key", "officer.key")
    assert said(sites, *approve, "--seal-to", "server.pub")["approved"]
    vote(sites, "south")
    # south's vote comes unsigned, and in another's name
    for name in ("unsigned", "renamed"):
        shutil.copy("south.vote-1.safetensors", f"{name}.safetensors")
    vote(sites, "west", 1, "--key", "south.key")
    shutil.copy("west.vote-1.safetensors.sig", "renamed.safetensors.sig")
    names = ("north.vote-1.safetensors.age", "unsigned.safetensors", "renamed.safetensors", "west.vote-1.safetensors")
    found = ingested(sites, *names, "south.vote-1.safetensors", more=("--key", "server.key"), code=5)
    assert [one["rule"] for one in found["files"].values()] == ["", "sender", "sender", "sender", ""]
    assert (found["round"], found["missing"]) == (1, ["west"])
    waits = "round 1 of 2 waits for votes of west (2 of 3 have voted): fgl server ingest run FILES"
    assert waits in failure(sites, "server", "run", "run", "--quiet", code=5)
    assert waits in sites("stages", "run").out
    # without west the next ballot is made, and what comes for the last one is refused
    assert said(sites, "server", "ballot", "run", "--close", "1")["file"] == "ballot-2.safetensors"
    assert said(sites, "server", "ballot", "run", "--close", "1")["round"] == 2
    vote(sites, "west")
    found = ingested(sites, "west.vote-1.safetensors", "south.vote-1.safetensors", code=5)
    outcomes = [(one["outcome"], one["rule"]) for one in found["files"].values()]
    assert outcomes == [("refused", "round"), ("already there", "")]
    for name in SITES:
        assert vote(sites, name, 2)["spent"]["in_all"] == pytest.approx(3.992, rel=0.001)
    found = ingested(sites, *(f"{name}.vote-2.safetensors" for name in SITES))
    assert found["missing"] == []
    result = said(sites, "server", "run", "run", "--quiet")
    assert [one["voters"] for one in result["upload"]["votes"]["rounds"]] == [["north", "south"], list(SITES)]
    record = [one for one in log.entries(RunDir(Path("run"))) if one["event"] == "accepted"]
    assert [(one["kind"], one["round"]) for one in record] == [("vote", 1)] * 2 + [("vote", 2)] * 3
    assert sites("server", "log", "verify", "run").code == 0
    assert "Only each client's own ledger says" in " ".join(sites("privacy", "run").out.split())


def test_a_client_that_is_taken_out_or_whose_key_is_revoked_counts_no_longer(sites: Typed) -> None:
    changed("shared.yaml", votes={"rounds": 1})
    said(sites, "server", "ballot", "run", *CONFIG)
    before = Path("ballot-1.safetensors").read_bytes()
    for name in SITES:
        vote(sites, name)
    ingested(sites, *(f"{name}.vote-1.safetensors" for name in SITES))
    assert said(sites, "server", "ballot", "run")["round"] == 2, "the only round is closed"
    # the vote of a key that was revoked is waited for, and taken with another signature
    changed("server.yaml", server={"revoked": [Path("south.pub").read_text().strip()]})
    keys.write_pair(Path("new"), *keys.client_pair())
    settings = yaml.safe_load(Path("server.yaml").read_text())
    settings["server"]["keys"]["south"] = [settings["server"]["keys"]["south"], Path("new.pub").read_text().strip()]
    write("server.yaml", settings)
    assert said(sites, "server", "ballot", "run", *CONFIG)["missing"] == ["south"]
    vote(sites, "south", 1, "--key", "new.key")
    assert ingested(sites, "south.vote-1.safetensors")["missing"] == []
    (Path("run/server/received/1/west.safetensors")).write_bytes(b"cut")
    assert said(sites, "server", "ballot", "run")["missing"] == ["west"]
    assert ingested(sites, "west.vote-1.safetensors")["missing"] == []
    assert said(sites, "server", "ballot", "run")["round"] == 2
    said(sites, "server", "forget", "run", "--client", "west", "--quiet")
    assert not list(Path("run").rglob("*west*"))
    assert Path("run/server/votes/ballot-1.safetensors").read_bytes() == before
    result = json.loads(Path("run/report.json").read_text())
    assert result["upload"]["votes"]["rounds"][0]["voters"] == ["north", "south"]
    (refused,) = ingested(sites, "west.vote-1.safetensors", code=5)["files"].values()
    assert refused["rule"] == "round", "no round is open"


def test_what_is_wrong_is_said_in_one_line(sites: Typed, caplog: pytest.LogCaptureFixture) -> None:
    words = ("client", "vote", "ballot-1.safetensors", "shared.yaml", "north.yaml", "--client", "north")
    assert "no such file" in failure(sites, *words, code=7).lower()
    assert "not started yet" in failure(sites, "server", "ballot", "run", code=2)
    said(sites, "server", "ballot", "run", *CONFIG)
    assert "a round whose ballot was answered" in failure(sites, "server", "ballot", "run", "--close", "2", code=2)
    Path("mine.txt").write_text("mine")
    for command in (words, ("server", "ballot", "run")):
        assert "this is neither" in failure(sites, *command, "--out", "mine.txt", code=2)
    ballot = Path("ballot-1.safetensors")
    sound = ballot.read_bytes()
    ballot.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert "damaged on its way" in failure(sites, *words, code=5)
    ballot.write_bytes(sound)
    for change, words_of_it, code in (
        ({"votes": {"space": "random-filters"}}, "in another feature space", 5),
        ({"votes": {"candidates": 2}}, "the configuration allows 2", 5),
        ({"votes": {"epsilon": -1.0}}, "more than 0", 2),
        ({"votes": {"epsilon": 1e6}}, "which votes can be written with", 2),
        ({"votes": {"rounds": 0}}, "clients of this run send uploads", 2),
        ({"upload": {"run_id": "skin-2"}}, "of the run 'skin-1'", 5),
    ):
        kept = Path("shared.yaml").read_text()
        changed("shared.yaml", **change)
        assert words_of_it in failure(sites, *words, code=code)
        Path("shared.yaml").write_text(kept)
    changed("north.yaml", site={"tasks": ["upload"]})
    assert "site.tasks allows upload" in failure(sites, *words, code=2)
    changed("north.yaml", site={"tasks": ["vote"]})
    Path("north.key").chmod(0o644)
    assert "chmod 600" in failure(sites, *words, "--key", "north.key", code=2)
    Path("north.key").chmod(0o600)
    assert not Path("north.ledger").exists(), "nothing was spent by then"
    # delta is not below one in as many images as there are
    changed("shared.yaml", privacy={"delta": 0.25})
    assert sites(*words).code == 0
    assert "delta 0.25 is not below 1 / 12" in caplog.text
    changed("shared.yaml", privacy={"delta": 1e-3})
    # another ballot of the same round
    extra = ballots.own_ballot(sound)
    other = ballots.Ballot(extra.run, 1, extra.size, extra.space, extra.features + 1, extra.class_id)
    ballot.write_bytes(ballots.encode_ballot(other, CLASSES))
    assert "one a round" in failure(sites, *words, code=5)
    # and its answer, by one who has not answered the server's
    vote(sites, "south")
    (refused,) = ingested(sites, "south.vote-1.safetensors", code=5)["files"].values()
    assert (refused["rule"], "a vote on another ballot" in refused["reason"]) == ("replay", True)
    ballot.write_bytes(sound)
    ledger = Path("north.ledger/ledger.jsonl")
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    assert "it was cut" in failure(sites, *words, code=7)


def test_a_vote_that_is_killed_at_any_commit_is_given_once(sites: Typed) -> None:
    """And signed alike: Ed25519 draws nothing."""
    said(sites, "server", "ballot", "run", *CONFIG)
    words = ("client", "vote", "ballot-1.safetensors", "shared.yaml", "north.yaml", "--client", "north")
    act, place = commits.command(*words, "--key", "north.key"), 0
    while True:
        place += 1
        shutil.rmtree("north.ledger", ignore_errors=True)
        for name in ("north.vote-1.safetensors", "north.vote-1.safetensors.sig"):
            Path(name).unlink(missing_ok=True)
        if not commits.killed(act, place):
            break
        left = Path("north.vote-1.safetensors")
        gone = left.read_bytes() if left.exists() else None
        commits.done(act)
        lines = Path("north.ledger/ledger.jsonl").read_bytes().splitlines()
        assert len(lines) == 2, "one line that begins, and one vote"
        answer = json.loads(lines[1])["answer"]
        made = left.read_bytes()
        assert Path(f"north.ledger/answers/{answer}").read_bytes() == made
        assert gone in (None, made)
        place_of = signatures.Place(kind="vote", run="skin-1", client_id="north", round=1)
        signed = signatures.sign(keys.signing_key(Path("north.key")), made, place_of)
        assert Path("north.vote-1.safetensors.sig").read_bytes() == signatures.block([signed])
    assert place == 11, [path.name for path in Path("north.ledger").rglob("*")]
