"""The record of intake: who was expected, missing, refused or taken out, when, and what crossed, by digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load, save

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core.orchestrator import reopen
from fgl.core.report import guess
from fgl.core.server import refusals
from fgl.core.stages import integrity
from fgl.core.wire.upload import METADATA, checksum
from fgl.errors import UploadError
from tests.conftest import CLASSES, changed
from tests.helpers.cli import checked

CLIENTS = ("north", "south", "east", "west", "harbour")
Command = Callable[..., Any]


@pytest.fixture
def base(pipeline: Path) -> dict[str, Any]:
    return {
        "prompt_strategy": "class-name",
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 1,
            "dtype": "fp32",
            "guidance_scale": 1.0,
        },
        "synthesis": {"images_per_class": 4, "shard_size": 12},
        "classifier": {"name": "small", "epochs": 1, "image_size": 16},
        "baselines": "none",
        "upload": {"run_id": "skin-7", "clients": list(CLIENTS)},
    }


@pytest.fixture
def sites(base: dict[str, Any], images: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """(configuration of the clients' data, of the server). Beside the former lies what all share."""
    data = {"name": "imagefolder", "path": str(images(6)), "class_names": list(CLASSES)}
    contents = {
        "shared": base,
        "site": {"dataset": {**data, "holds": "train"}, "site": {"paths": [base["generator"]["model"]]}},
        "server": {**base, "dataset": {**data, "holds": "test"}},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
    return tmp_path / "site.yaml", tmp_path / "server.yaml"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return checked(monkeypatch, capsys)


def prepare(command: Command, config: Path, folder: Path, *clients: str) -> list[Path]:
    files = []
    for name in clients:
        files.append(folder / f"{name}.safetensors")
        command(
            "client",
            "prepare",
            config.with_name("shared.yaml"),
            config,
            "--client",
            name,
            "--out",
            files[-1],
            "--private",
            folder / f"{name}.p",
        )
    return files


def with_weight(path: Path, weight: float) -> None:
    """Another upload of the same client, whose rows stand for so many samples each."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
    tensors = dict(load(data))
    tensors["weight"] = tensors["weight"] * 0 + weight
    metadata["checksum"] = checksum({key: value for key, value in metadata.items() if key != "checksum"}, tensors)
    path.write_bytes(save(tensors, {METADATA: json.dumps(metadata, sort_keys=True)}))


def test_the_report_says_who_sent_what_and_when_and_who_did_not(
    command: Command, sites: tuple[Path, Path], tmp_path: Path
) -> None:
    client, server = sites
    north, south, east, west = prepare(command, client, tmp_path / "up", "north", "south", "east", "west")
    with_weight(west, 1e12)
    junk = tmp_path / "up" / "junk"
    junk.write_bytes(b"nothing")
    run = tmp_path / "run"
    command("server", "ingest", run, north, south, east, west, junk, "--config", server, fails=UploadError.exit_code)
    command("server", "forget", run, "--client", "east", "--later")
    command("server", "run", run, "--quiet")
    report = json.loads((run / "report.json").read_text())
    found = report["intake"]
    assert found["run_id"] == "skin-7"
    assert found["expected"] == list(CLIENTS)
    assert found["missing"] == ["harbour"]
    assert list(found["forgotten"]) == ["east"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["forgotten"]["east"])
    assert set(found["accepted"]) == {"north", "south", "west"}
    assert found["accepted"]["north"]["sha256"] == hashlib.sha256(north.read_bytes()).hexdigest()
    assert found["accepted"]["north"]["bytes"] == north.stat().st_size
    assert found["accepted"]["north"]["time"].endswith("UTC")
    assert found["date"].endswith("UTC")
    assert found["refused"] == 1
    assert any("embeddings of the prompts (prompt_embeds" in field for field in found["fields"])
    assert not any("models trained" in field for field in found["fields"])
    text = (run / "report.md").read_text()
    assert text.startswith("# fgl run skin-7\n")
    assert "partition:" not in text
    assert "dirichlet" not in text
    assert "expected: 5 clients; missing: harbour" in text
    assert f"| {south.stat().st_size:,} | {hashlib.sha256(south.read_bytes()).hexdigest()} | " in text
    assert "taken out: east, 2" in text
    assert "run id skin-7, seed 0, fgl " in text
    # a hostile weight: bounded, and named
    assert "- west says that its rows stand for" in text
    assert "the most that one client may claim beside the others (upload.max\\_weight\\_ratio)" in text.replace(
        "upload.max_weight_ratio", "upload.max\\_weight\\_ratio"
    )
    assert found["limited"]["west"] < 1e-8
    assert re.search(r"- west gives 100\.0% of class river .* 2 others have it too\): what it sent decides", text)
    again = json.loads(json.dumps(report))
    command("server", "run", run, "--quiet")
    later = json.loads((run / "report.json").read_text())
    assert later["intake"]["accepted"] == again["intake"]["accepted"]  # the times are those of intake
    assert later["damaged"] == {}


def test_of_a_client_that_was_taken_out_nothing_but_its_id_and_the_date_remains(
    command: Command, sites: tuple[Path, Path], tmp_path: Path
) -> None:
    client, server = sites
    files = prepare(command, client, tmp_path / "up", "north", "south", "harbour")
    digest = hashlib.sha256(files[2].read_bytes()).hexdigest()
    run = tmp_path / "run"
    command("server", "ingest", run, *files, "--config", server)
    command("server", "run", run, "--quiet")
    assert digest.encode() in (run / "metrics.jsonl").read_bytes()
    command("server", "forget", run, "--client", "harbour", "--quiet")
    listed = ("config.yaml", "forgotten.json")  # who may answer, and who was taken out
    for path in run.rglob("*"):
        if not path.is_file() or path.name in listed:
            continue
        data = path.read_bytes()
        assert digest.encode() not in data, path
        if path.name in ("metrics.jsonl", "log.jsonl"):
            named = [line for line in data.splitlines() if b"harbour" in line]
            assert [json.loads(line)["event"] for line in named] == ["forgotten"]
            continue
        if path.name in ("report.json", "report.md"):
            assert data.count(b"harbour") <= 5, path  # listed, expected, taken out
            continue
        data = re.sub(rb'"(clients|forgotten)": (\[[^\]]*\]|\{[^}]*\})', b"", data)  # lists of who may answer or is out
        assert b"harbour" not in data, path


def test_refusals_are_listed_up_to_a_number_and_counted_beyond_it(
    command: Command, sites: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_KEPT", 5)
    run, junk = tmp_path / "run", []
    for number in range(13):
        junk.append(tmp_path / f"junk-{number}")
        junk[-1].write_bytes(f"junk {number}".encode())
    command("server", "ingest", run, *junk, "--config", sites[1], fails=UploadError.exit_code)
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    refused = [event["reason"] for event in events if event["event"] == "refused"]
    assert len(refused) == 6
    assert refused[4].startswith("5 files were refused so far; one in 5 is told of: refused: ")
    assert refused[5].startswith("10 files were refused so far")
    kept = json.loads((run / "server" / "refused.json").read_text())
    assert (len(kept["files"]), kept["total"]) == (5, 13)
    session = reopen(run, NullProgress())
    assert integrity.named(session) == {}
    record = run / "server" / "log.jsonl"
    whole = record.read_bytes()
    for damaged in (whole[:-5], whole.replace(b"refused", b"rEfused", 1), b""):
        record.write_bytes(damaged)
        assert list(integrity.named(session)) == ["server/log.jsonl"]
    record.unlink()
    assert "this run has no record" in integrity.named(session)["server/log.jsonl"]
    (run / "metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    assert integrity.named(session) == {}, "nothing has come yet"
    (tmp_path / "metrics.jsonl").rename(run / "metrics.jsonl")
    record.write_bytes(whole)
    (run / "server" / "refused.json").unlink()
    assert integrity.named(session) == {
        "server/refused.json": "lost: what was refused before is no longer in the report"
    }


def test_rounds_from_a_useless_one_shot_model_come_with_a_warning(
    base: dict[str, Any],
    images: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = {
        "dataset": str(images(12)),
        "upload": {"clients": None},
        "partition": {"name": "iid", "clients": 2},
        "rounds": {"count": 1, "local_epochs": 1, "start": "one-shot"},
    }
    monkeypatch.setattr(guess, "best_guess", lambda levels: 1.0)  # nothing is better than this
    result = fgl.run(changed(base, rounds), out=tmp_path / "run")
    assert "no better than a guess" in caplog.text
    assert "rounds.start=auto" in result["warnings"][0]
    assert "no better than a guess" in (tmp_path / "run" / "report.md").read_text()
