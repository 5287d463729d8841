"""A finished run's files, damaged one by one: each is recomputed or named, and nothing is built on it unnoticed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

import fgl
from fgl.cli import main
from fgl.contracts.progress import NullProgress
from fgl.core.orchestrator import reopen, resume
from fgl.core.status import stages
from fgl.errors import StoreError, UploadError
from tests.helpers.cli import checked
from tests.helpers.settings import small, write_noise

MADE_AGAIN = (
    "clients/client-00/private/prompts.jsonl",
    "clients/client-01/private/summary.json",
    "baselines/class-list/shards/shard-00000.parquet",
    "baselines/class-list/shards/shard-00001.json",
    "forgotten.json",
)
NAMED = (
    "clients/client-00/private/rounds/own/2.safetensors",
    "rounds/fedavg-1/state.safetensors",
    "metrics.jsonl",
)


@pytest.fixture(scope="module")
def settings(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return small(
        write_noise(tmp_path_factory.mktemp("images")),
        pipeline,
        partition={"clients": 3},
        prompt_strategy="attributes",
        synthesis={"images_per_class": 4, "shard_size": 6},
        rounds={"count": 2, "local_epochs": 1, "start": "one-shot"},
        algorithm="scaffold",
        baselines=["class-list", "fedavg"],
    )


Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return checked(monkeypatch, capsys)


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a client that was taken out."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    fgl.run({**settings, "baselines": "none", "rounds": {"count": 0}}, out=out)
    argv = sys.argv
    try:
        sys.argv = ["fgl", "server", "forget", str(out), "--client", "client-02", "--later", "--quiet"]
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    finally:
        sys.argv = argv
    result = fgl.run(settings, out=out)
    assert result["damaged"] == {}
    return out


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "junk": lambda path: path.write_bytes(b"\0junk"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_damaged_file_is_made_again_or_named(finished: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    before = {name: (out / name).read_bytes() for name in MADE_AGAIN}
    told = json.loads((out / "report.json").read_text())
    for name in (*MADE_AGAIN, *NAMED):
        DAMAGE[kind](out / name)
    shown = {one.stage: one for one in stages(reopen(out, NullProgress()))}
    assert shown["files"].state == "damaged"
    assert all(name in shown["files"].why for name in (*NAMED[1:], "private/rounds/own", *MADE_AGAIN[:2]))
    result = resume(out).to_dict()
    assert {name: (out / name).read_bytes() for name in MADE_AGAIN} == before
    assert result["result"] == told["result"]
    assert result["synthetic"]["digest"] == told["synthetic"]["digest"]
    assert sorted(result["damaged"]) == [
        "clients/client-00/private/rounds/own",
        "metrics.jsonl",
        "rounds/fedavg-1/state.safetensors",
    ]
    report = (out / "report.md").read_text()
    assert all(name in report.replace("\\_", "_") for name in result["damaged"])
    assert set(result["upload"]["bytes_per_client"]) == {"client-00", "client-01"}


@pytest.mark.parametrize("name", ["rounds/own/state.safetensors", "clients/client-01/private/rounds/own/2.safetensors"])
def test_a_finished_run_is_not_extended_from_damage(
    finished: Path, settings: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """The model after four rounds is that of four rounds at once, whatever of the first two was damaged."""
    longer = {**settings, "rounds": {"count": 3, "local_epochs": 1, "start": "one-shot"}, "baselines": "none"}
    models = []
    for kind in (None, flip, Path.unlink):
        out = tmp_path / "run"
        shutil.copytree(finished, out)
        if kind is not None:
            kind(out / name)
        fgl.run(longer, out=out)
        models.append({key: array.tobytes() for key, array in load_file(out / "rounds/own/model.safetensors").items()})
        shutil.rmtree(out)
    assert models[0] == models[1] == models[2]


def test_an_audit_of_damaged_prompts_is_an_error_that_names_them(
    finished: Path, tmp_path: Path, command: Command
) -> None:
    for kind in ("flip", "cut", "gone"):
        out = tmp_path / kind
        shutil.copytree(finished, out)
        DAMAGE[kind](out / "clients" / "client-00" / "private" / "prompts.jsonl")
        said = command("audit", out, "--parts", "uploads", "--quiet", fails=StoreError.exit_code)
        assert "client-00/private/prompts.jsonl is damaged or lost: fgl run --resume" in " ".join(said.split())


def test_a_run_whose_clients_are_elsewhere_never_simulates_them(
    settings: dict[str, Any], tmp_path: Path, command: Command
) -> None:
    shared, run = tmp_path / "shared.yaml", tmp_path / "run"
    shared.write_text(yaml.safe_dump({**settings, "rounds": {"count": 0}, "baselines": "none"}))
    for name in ("client-00", "client-01"):
        command(
            "client",
            "prepare",
            shared,
            "--client",
            name,
            "--out",
            tmp_path / f"{name}.safetensors",
            "--private",
            tmp_path / name,
            "--simulate",
        )
    files = [tmp_path / f"client-0{number}.safetensors" for number in (0, 1)]
    command("server", "ingest", run, *files, "--config", shared)
    command("server", "run", run, "--quiet")
    command("server", "forget", run, "--client", "client-01", "--later")
    for kind in ("gone", "flip", "cut"):
        DAMAGE[kind](run / "server" / "remote-clients.json")
        command(*(("run", "--resume", run) if kind == "gone" else ("server", "run", run)), "--quiet")
        assert not (run / "clients").exists()
        assert json.loads((run / "server" / "remote-clients.json").read_text())["version"] == 1
    (run / "server" / "forgotten.json").unlink()
    said = command("server", "ingest", run, files[1], fails=UploadError.exit_code)
    assert "was taken out of this run" in said
    result = command("server", "run", run, "--quiet", "--json")
    assert list(json.loads(result[result.index("{") :])["upload"]["bytes_per_client"]) == ["client-00"]
    assert (run / "server" / "forgotten.json").read_bytes() == (run / "forgotten.json").read_bytes()
