"""Clients and server on machines of their own: files go over, and the result is that of one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import fgl
from fgl.core.client import prepare as client_prepare
from fgl.core.orchestrator import digest
from fgl.core.synthesis.shards import read_shards
from fgl.errors import ConfigError, StoreError, TooFewUploadsError, UploadError
from tests.conftest import CLASSES
from tests.helpers.cli import run_cli

CLIENTS = ("client-00", "client-01", "client-02")


@pytest.fixture
def config(images: Callable[..., Path], pipeline: Path, tmp_path: Path) -> Path:
    """A configuration file that clients and server share; three simulated clients."""
    settings = {
        "dataset": str(images(12)),
        "partition": {"name": "iid", "clients": 3},
        # the small encoder takes 14 characters: what differs comes first
        "prompt_strategy": {"name": "attributes", "max_prompts": 3, "template": "{attributes}, {label}"},
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 2,
            "dtype": "fp32",
            "guidance_scale": 2.0,
            "batch_size": 4,
        },
        "synthesis": {"images_per_class": 12, "shard_size": 5},
        "classifier": {"name": "small", "epochs": 1, "image_size": 16},
        "baselines": "none",
        "upload": {"run_id": "trial-7"},
    }
    path = tmp_path / "shared.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


Command = Callable[..., Any]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Types a command; returns what it printed as JSON, or (exit code, what it said)."""
    monkeypatch.chdir(tmp_path)
    words = run_cli(monkeypatch, capsys)

    def call(*arguments: object, fails: int = 0) -> Any:
        said = words(*map(str, arguments))
        assert said.code == fails, said.err
        assert "Traceback" not in said.err
        return json.loads(said.out) if "--json" in arguments and said.out else said.out + said.err

    return call


def prepare(command: Command, config: Path, folder: Path, clients: tuple[str, ...] = CLIENTS) -> dict[str, Path]:
    files = {}
    for name in clients:
        files[name] = folder / f"{name}.safetensors"
        command(
            "client",
            "prepare",
            config,
            "--simulate",
            "--client",
            name,
            "--out",
            files[name],
            "--private",
            folder / "p" / name,
        )
    return files


def test_files_that_went_over_give_what_one_process_gives(command: Command, config: Path, tmp_path: Path) -> None:
    whole = fgl.run(config, out=tmp_path / "whole")
    files = prepare(command, config, tmp_path / "clients")
    for name, path in files.items():
        kept = tmp_path / "whole" / "server" / "uploads" / f"{name}.safetensors"
        assert path.read_bytes() == kept.read_bytes()
    run = tmp_path / "run"
    said = command("server", "ingest", run, files["client-01"], "--config", config, "--json")
    assert said["missing"] == ["client-00", "client-02"]
    said = command("server", "ingest", run, *files.values(), "--json")
    assert [one["outcome"] for one in said["files"].values()] == ["accepted", "already there", "accepted"]
    result = command("server", "run", run, "--json", "--quiet")
    assert result["synthetic"]["digest"] == whole["synthetic"]["digest"] == digest(run)
    assert result["result"] == whole["result"]
    assert result["upload"]["bytes_per_client"] == whole["upload"]["bytes_per_client"]
    again = command("server", "run", run, "--json", "--quiet")
    assert set(again["reused_stages"]) >= {"clients", "plan", "synthesize", "train", "evaluate"}
    assert not (run / "clients").exists()


def with_codec(config: Path, codec: str) -> Path:
    settings = yaml.safe_load(config.read_text())
    settings["upload"]["codec"] = codec
    path = config.with_name(f"{codec}.yaml")
    path.write_text(yaml.safe_dump(settings))
    return path


def test_texts_that_went_over_give_what_embeddings_give(command: Command, config: Path, tmp_path: Path) -> None:
    """In one process and apart, also after the derived files were lost, and with a client taken out."""
    exact = fgl.run(with_codec(config, "fp32"), out=tmp_path / "exact")
    chosen = with_codec(config, "text")
    whole = fgl.run(chosen, out=tmp_path / "whole")
    files = prepare(command, chosen, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", chosen)
    uploads, encoded = run / "server" / "uploads", run / "server" / "encoded"
    for name, path in files.items():
        assert (uploads / path.name).read_bytes() == path.read_bytes()
        theirs = tmp_path / "exact" / "server" / "uploads" / f"{name}.safetensors"
        assert (encoded / path.name).read_bytes() == theirs.read_bytes()
    shutil.rmtree(encoded)
    result = command("server", "run", run, "--json", "--quiet")
    digests = {one["synthetic"]["digest"] for one in (exact, whole, result)}
    assert digests == {digest(run)}
    assert result["result"] == whole["result"] == exact["result"]
    assert result["upload"]["bytes_by_codec"] == whole["upload"]["bytes_by_codec"]
    assert {one["state"] for one in command("stages", run, "--json")["stages"]} == {"done"}
    command("server", "ingest", run, files["client-02"])  # the same again
    command("server", "forget", run, "--client", "client-01", "--quiet")
    assert not list(run.rglob("client-01*"))
    assert {path.stem for path in encoded.iterdir()} == {"client-00", "client-02"}
    other = tmp_path / "other"
    command("server", "ingest", other, files["client-00"], files["client-02"], "--config", chosen)
    assert command("server", "run", other, "--json", "--quiet")["synthetic"]["digest"] == digest(run)


def test_a_changed_encoder_encodes_texts_again_and_a_changed_codec_takes_them_no_more(
    command: Command, config: Path, tmp_path: Path
) -> None:
    from tests.helpers.pipelines import save_pipeline

    chosen = with_codec(config, "text")
    files = prepare(command, chosen, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", chosen)
    first = command("server", "run", run, "--json", "--quiet")
    encoded = run / "server" / "encoded" / "client-00.safetensors"
    before = encoded.read_bytes()
    other = save_pipeline(tmp_path / "other", seed=1)
    second = command("server", "run", run, "--json", "--quiet", "--set", f"generator.model={other}")
    assert len(second["upload"]["bytes_per_client"]) == 3
    assert encoded.read_bytes() != before
    assert second["synthetic"]["digest"] != first["synthetic"]["digest"]
    said = command("server", "run", run, "--quiet", "--set", "upload.codec=fp16", fails=TooFewUploadsError.exit_code)
    assert "this run takes embeddings alone" in said
    small = tmp_path / "small"
    said = command(
        "server",
        "ingest",
        small,
        files["client-00"],
        "--config",
        chosen,
        "--set",
        "upload.max_megabytes=0.002",
        "--json",
        fails=UploadError.exit_code,
    )
    (refused,) = said["files"].values()
    assert refused["rule"] == "size"
    assert not list((small / "server").rglob("client*"))


@pytest.mark.parametrize("codec", ["fp16", "fp32", "int8", "text"])
def test_what_a_client_is_told_of_its_codec(command: Command, config: Path, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "one.safetensors"
    asked = (
        "client",
        "prepare",
        with_codec(config, codec),
        "--simulate",
        "--client",
        "client-00",
        "--out",
        path,
        "--private",
        tmp_path / "private",
    )
    said, told = command(*asked), command(*asked, "--json")
    assert told["codec"] == codec
    assert told["bytes_by_codec"][codec] == told["bytes"] == path.stat().st_size
    assert ("holds the prompts as text" in said) == (codec == "text")
    assert ("send the file, and nothing from that folder" in said) == (codec != "text")
    assert ("is off by at most" in said) == (codec != "text")


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_the_servers_folder_tells_nothing_of_a_client_but_its_upload(
    command: Command, config: Path, tmp_path: Path, codec: str
) -> None:
    """No prompt, no path, no name of a sample, no picture, in any file, as it lies or unpacked."""
    config = with_codec(config, codec)
    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    bad = tmp_path / "clients" / "of alice at home.safetensors"
    bad.write_bytes(files["client-00"].read_bytes()[:-3])
    command("server", "ingest", run, bad, *files.values(), "--config", config, fails=UploadError.exit_code)
    command("server", "run", run, "--quiet")
    secrets: set[bytes] = {str(tmp_path).encode(), b"of alice at home"}
    for path in (tmp_path / "images").rglob("*.png"):
        secrets |= {str(path).encode(), f"/{path.name}".encode(), path.read_bytes()}
    for path in (tmp_path / "clients" / "p").rglob("prompts.jsonl"):
        for line in path.read_text().splitlines():
            prompt = json.loads(line)
            texts = {prompt["text"], prompt["negative"] or "", *prompt["text"].split(", ")}
            secrets |= {text.encode() for text in texts if text and text not in CLASSES}
    assert len(secrets) > 80
    for path in (run / "server").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                data += repr(table.drop_columns(["image"] * ("image" in table.column_names)).to_pydict()).encode()
                for image in table.column("image").to_pylist() if "image" in table.column_names else []:
                    data += image["bytes"]
            for secret in secrets:
                assert secret not in data, f"{secret[:60]!r} stands in {path}"


def images_of(run: Path) -> dict[str, bytes]:
    return {row["image_id"]: rgb.tobytes() for row, rgb in read_shards(run / "server" / "shards")}


def test_a_late_client_costs_only_what_is_new(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, files["client-00"], files["client-01"], "--config", config)
    first = command("server", "run", run, "--json", "--quiet")
    before = images_of(run)
    command("server", "ingest", run, files["client-02"])
    second = command("server", "run", run, "--json", "--quiet")
    after = images_of(run)
    shared = before.keys() & after.keys()
    assert 0 < len(shared) < len(after)
    assert second["synthetic"]["reused"] == len(shared)
    assert all(after[name] == before[name] for name in shared)
    other = tmp_path / "at once"
    command("server", "ingest", other, *files.values(), "--config", config)
    whole = command("server", "run", other, "--json", "--quiet")
    assert whole["synthetic"]["digest"] == second["synthetic"]["digest"] != first["synthetic"]["digest"]
    assert whole["result"] == second["result"]


def test_a_client_that_is_taken_out_might_never_have_been_there(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients")
    run, other = tmp_path / "run", tmp_path / "without"
    command("server", "ingest", run, *files.values(), "--config", config)
    whole = command("server", "run", run, "--json", "--quiet")
    before = images_of(run)
    result = command("server", "forget", run, "--client", "client-01", "--json", "--quiet")
    command("server", "ingest", other, files["client-00"], files["client-02"], "--config", config)
    never = command("server", "run", other, "--json", "--quiet")
    assert result["synthetic"]["digest"] == never["synthetic"]["digest"] != whole["synthetic"]["digest"]
    assert result["result"] == never["result"]
    assert result["history"] == never["history"]
    assert result["synthetic"]["reused"] == len(before.keys() & images_of(other).keys()) > 0
    gone = json.loads((tmp_path / "clients" / "p" / "client-01" / "summary.json").read_text())
    assert gone["prompts"] > 0
    for path in run.rglob("*"):
        # the log and the report say that it was taken out, and the simulation's own division is of all
        if path.is_file() and path.name not in (
            "metrics.jsonl",
            "forgotten.json",
            "partition.json",
            "log.jsonl",
            "report.json",
            "report.md",
        ):
            assert b"client-01" not in path.read_bytes().replace(b'"forgotten": [\n      "client-01"', b""), path
    said = command("server", "ingest", run, files["client-01"], fails=UploadError.exit_code)
    assert "taken out" in said
    assert "there is no client 'nobody'" in command(
        "server", "forget", run, "--client", "nobody", fails=UploadError.exit_code
    )


def test_a_simulated_client_can_be_taken_out_too(command: Command, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fgl.run(config, out=run)
    result = command("server", "forget", run, "--client", "client-01", "--json", "--quiet")
    assert set(result["upload"]["bytes_per_client"]) == {"client-00", "client-02"}
    assert not (run / "clients" / "client-01").exists()
    lists = {f"{folder}forgotten.json" for folder in ("", "server/")} | {"metrics.jsonl", ".fgl-files"}
    lists |= {"partition.json", "stages/partition.json"}  # which follow from the configuration and the seed
    told = {path.relative_to(run).as_posix() for path in run.rglob("*") if b"client-01" in _content(path)}
    assert told <= lists | {"report.json", "report.md", "stages/clients.json", "stages/plan.json"}
    again = fgl.run(config, out=run)
    assert again["synthetic"]["digest"] == result["synthetic"]["digest"]
    assert "clients" in again["reused_stages"]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_what_is_refused_is_said_everywhere_and_stops_nobody(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients")
    data = files["client-02"].read_bytes()
    changed = bytearray(data)
    changed[-1] ^= 1
    files["client-02"].write_bytes(changed)
    big = tmp_path / "clients" / "big.safetensors"
    big.write_bytes(bytes(3_000_000))
    run = tmp_path / "run"
    said = command(
        "server",
        "ingest",
        run,
        *files.values(),
        big,
        "--config",
        config,
        "--set",
        "upload.max_megabytes=2",
        "--json",
        fails=UploadError.exit_code,
    )
    rules = [one["rule"] for one in said["files"].values()]
    assert rules == ["", "", "checksum", "size"]
    assert said["missing"] == ["client-02"]
    result = command("server", "run", run, "--json", "--quiet")
    assert sorted(one["rule"] for one in result["upload"]["refused"].values()) == ["checksum", "size"]
    assert set(result["upload"]["bytes_per_client"]) == {"client-00", "client-01"}
    assert all(len(one["reason"]) < 600 for one in result["upload"]["refused"].values())
    report = (run / "report.md").read_text()
    assert "rule checksum" in report
    assert "rule size" in report
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [event["rule"] for event in events if event["event"] == "refused"] == ["checksum", "size"]
    files["client-02"].write_bytes(data)
    command("server", "ingest", run, files["client-02"])
    assert len(command("server", "run", run, "--json", "--quiet")["upload"]["bytes_per_client"]) == 3


def test_another_upload_of_the_same_client_needs_a_word(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config)
    text = config.read_text().replace("max_prompts: 3", "max_prompts: 1")
    other = tmp_path / "other.yaml"
    other.write_text(text)
    new = prepare(command, other, tmp_path / "new", ("client-00",))["client-00"]
    said = command("server", "ingest", run, new, fails=UploadError.exit_code)
    assert "already sent another upload" in said
    assert "--replace" in said
    assert "accepted" in command("server", "ingest", run, new, "--replace")
    kept = run / "server" / "uploads" / "client-00.safetensors"
    assert kept.read_bytes() == new.read_bytes()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("upload.run_id=trial-6", "replay"),
        ("upload.codec=fp32", ""),
        ("generator.guidance_scale=1.0", "shape"),
        ("upload.codec=int8", ""),
        ("upload.codec=text", "format"),
    ],
)
def test_files_for_another_run_are_refused(
    command: Command, config: Path, tmp_path: Path, change: str, rule: str
) -> None:
    path = tmp_path / "one.safetensors"
    command("client", "prepare", config, "--simulate", "--client", "client-00", "--out", path, "--set", change)
    said = command(
        "server",
        "ingest",
        tmp_path / "run",
        path,
        "--config",
        config,
        "--json",
        fails=UploadError.exit_code if rule else 0,
    )
    assert [one["rule"] for one in said["files"].values()] == [rule]


def test_too_few_uploads_are_an_error_that_says_so(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients", ("client-00",))
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config, "--set", "upload.min_clients=2")
    said = command("server", "run", run, "--quiet", fails=TooFewUploadsError.exit_code)
    assert "1 of 3 clients' uploads were accepted, 2 needed" in said


def test_too_few_answers_in_one_process_are_an_error_too(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_all = client_prepare.prepare

    def fail(payload: bytes, *more: Any) -> bytes:
        if json.loads(payload)["client_id"] != "client-00":
            raise RuntimeError("out of order")
        return prepare_all(payload, *more)

    monkeypatch.setattr(client_prepare, "prepare", fail)
    settings = yaml.safe_load(config.read_text())
    settings["upload"]["min_clients"] = 2
    with pytest.raises(TooFewUploadsError, match="1 of 3"):
        fgl.run(settings, out=tmp_path / "run")
    settings["upload"]["min_clients"] = 1
    result = fgl.run(settings, out=tmp_path / "run")
    assert {one["rule"] for one in result["upload"]["refused"].values()} == {"answer"}


def written(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


def test_clients_with_data_of_their_own(
    command: Command, config: Path, tmp_path: Path, images: Callable[..., Path]
) -> None:
    """Two hospitals with folders of their own, of which one lacks a class; a server with test images alone. Each has
    one file of its own beside the one that all share."""
    shared = yaml.safe_load(config.read_text())
    names = sorted(CLASSES)
    del shared["partition"]
    shared["upload"]["clients"] = ["north", "south"]
    shared |= {"dataset": {"class_names": names[::-1]}, "baselines": "all"}  # in an order that no folder has
    config.write_text(yaml.safe_dump(shared))
    model = shared["generator"]["model"]
    folders = {}
    for name, classes in (("north", names[:1]), ("south", names), ("tests", names)):
        folders[name] = tmp_path / name
        for label in classes:
            shutil.copytree(tmp_path / "images" / label, folders[name] / label)
    files = []
    for name in ("north", "south"):
        own = {"dataset": {"path": str(folders[name])}, "site": {"paths": [model]}}
        site = written(tmp_path / f"{name}.yaml", own)
        files.append(tmp_path / f"{name}.safetensors")
        said = command("client", "prepare", config, site, "--client", name, "--out", files[-1], "--json")
        assert said["holds"] == "train", "nothing of a site's own images is left out, unless it says so"
        assert said["dataset"]["images"] == 12 * len(list(folders[name].iterdir()))
    server = written(
        tmp_path / "server.yaml",
        {"dataset": {"name": "imagefolder", "path": str(folders["tests"])}},
    )
    run = tmp_path / "run"
    said = command("server", "ingest", run, *files, "--config", config, fails=2)
    assert "dataset: got none; expected the images that the server tests on" in said
    command("server", "ingest", run, *files, "--config", config, "--config", server)
    result = command("server", "run", run, "--json", "--quiet")
    assert result["partition"]["samples"]["north"] == [0.0, 0.0, 12.0]
    assert result["partition"]["samples"]["south"] == [12.0, 12.0, 12.0]
    assert [baseline["name"] for baseline in result["baselines"]] == ["class-list"]
    assert result["result"]["selected"]["images"] == 36, "all that the server has, which trains on none of them"
    with pytest.raises(ConfigError, match="simulates its clients"):
        fgl.run({**shared, **yaml.safe_load(server.read_text())}, out=tmp_path / "other")
    text = command("client", "prepare", config, tmp_path / "north.yaml", "--client", "west", fails=4)
    assert "there is no client 'west'; there are north, south" in text


def test_what_is_kept_is_judged_again_by_a_changed_configuration(
    command: Command, config: Path, tmp_path: Path, pipeline: Path
) -> None:
    from tests.helpers.pipelines import save_pipeline

    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config)
    other = save_pipeline(tmp_path / "other", seed=1)
    said = command("server", "run", run, "--quiet", "--set", f"generator.model={other}", fails=5)
    assert "0 of 3 clients' uploads were accepted" in said
    assert "encoded by another model" in said
    back = f"generator.model={pipeline}"
    said = command("server", "run", run, "--quiet", "--set", back, "--set", "upload.run_id=trial-8", fails=5)
    assert "written for the run 'trial-7'" in said
    result = command("server", "run", run, "--quiet", "--json", "--set", "upload.run_id=trial-7")
    assert len(result["upload"]["bytes_per_client"]) == 3


def test_a_kept_upload_that_is_gone_is_an_error(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config)
    kept = run / "server" / "uploads" / "client-01.safetensors"
    data = kept.read_bytes()
    kept.unlink()
    assert "of client-01 is damaged or gone" in command("server", "run", run, "--quiet", fails=5)
    kept.write_bytes(data[:-1])
    assert "of client-01 is damaged or gone" in command("server", "run", run, "--quiet", fails=5)
    command("server", "ingest", run, files["client-01"])
    first = command("server", "run", run, "--quiet", "--json")
    for path in kept.parent.glob("client-01.*"):
        path.unlink()
    assert "of client-01 is damaged or gone" in command("server", "run", run, "--quiet", fails=5)
    result = command("server", "forget", run, "--client", "client-01", "--quiet", "--json")
    assert result["synthetic"]["digest"] != first["synthetic"]["digest"]


def test_taking_a_client_out_reaches_runs_with_other_prompts(config: Path, command: Command, tmp_path: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["baselines"] = ["prompts:class-name", "centralized", "fedavg"]
    config.write_text(yaml.safe_dump(settings))
    run = tmp_path / "run"
    whole = fgl.run(config, out=run)
    result = command("server", "forget", run, "--client", "client-01", "--json", "--quiet")
    assert not list(run.rglob("client-01*"))
    nested = json.loads((run / "baselines" / "prompts-class-name" / "report.json").read_text())
    assert set(nested["upload"]["bytes_per_client"]) == {"client-00", "client-02"}
    notes = [
        [baseline["note"] for baseline in one["baselines"] if baseline["name"] == "centralized"]
        for one in (whole, result)
    ]
    assert notes[0] != notes[1]
    held = whole["partition"]["samples"]
    assert result["partition"]["samples"] == {name: held[name] for name in ("client-00", "client-02")}


def test_too_few_left_leaves_nothing_of_the_client_behind(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients", ("client-00",))
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config)
    command("server", "run", run, "--quiet")
    said = command("server", "forget", run, "--client", "client-00", "--quiet", fails=5)
    assert "client-00 is removed, with all that was made from its upload" in said
    left = {path.name for path in run.rglob("*") if path.is_file()}
    assert left == {
        ".lock",
        ".fgl-files",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "remote-clients.json",
        "log.jsonl",
        "log-head.json",
        "log-details.jsonl",
        "forgotten.json",
        "partition.json",
    }


def test_shards_of_a_plan_that_was_given_up_are_not_trained_on(
    command: Command, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late upload's run is killed after a shard; the client is taken out; the earlier plan is the plan again."""
    from fgl.core.store.run_dir import RunDir
    from fgl.core.synthesis.shards import ShardStore

    files = prepare(command, config, tmp_path / "clients")
    run = tmp_path / "run"
    command("server", "ingest", run, files["client-00"], files["client-01"], "--config", config)
    whole = command("server", "run", run, "--json", "--quiet")
    command("server", "ingest", run, files["client-02"])
    write, written = ShardStore.write, 0

    def stop(self: ShardStore, *arguments: Any) -> None:
        nonlocal written
        if written == 1:
            raise KeyboardInterrupt
        written += 1
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "write", stop)
        command("server", "run", run, "--quiet", fails=130)
    extra = run / "server" / "shards" / "shard-00099.parquet"
    for kind in (".parquet", ".json"):
        shutil.copyfile(next((run / "server").glob("shards*/shard-*" + kind)), extra.with_suffix(kind))
    mine = extra.with_name("shard-00100.parquet")
    shutil.copyfile(extra, mine)
    RunDir(run).note(extra, extra.with_suffix(".json"))
    result = command("server", "forget", run, "--client", "client-02", "--json", "--quiet")
    assert result["synthetic"]["digest"] == whole["synthetic"]["digest"] == digest(run)
    assert result["result"] == whole["result"]
    assert not extra.exists()
    assert mine.exists(), "it is not fgl's"


def test_files_that_cannot_be_read_do_not_stop_the_others(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients", ("client-00",))
    folder = tmp_path / "a folder"
    folder.mkdir()
    said = command("server", "ingest", tmp_path / "run", folder, *files.values(), "--config", config, "--json", fails=5)
    assert [one["outcome"] for one in said["files"].values()] == ["unreadable", "accepted"]


def test_the_two_ways_do_not_mix(command: Command, config: Path, tmp_path: Path) -> None:
    files = prepare(command, config, tmp_path / "clients", ("client-00",))
    run = tmp_path / "run"
    command("server", "ingest", run, *files.values(), "--config", config)
    with pytest.raises(StoreError, match="go on with fgl server run"):
        fgl.run(config, out=run)
    fgl.run(config, out=tmp_path / "one")
    said = command("server", "ingest", tmp_path / "one", *files.values(), fails=UploadError.exit_code)
    assert "accepts no files" in said
    said = command("server", "ingest", run, *files.values(), "--set", "seed=1", fails=2)
    assert "keeps the configuration" in said
    command("server", "ingest", run, *files.values(), "--config", config)  # the same again is no change
    assert "simulates its clients" in command("server", "run", tmp_path / "one", "--quiet", fails=StoreError.exit_code)
    said = command("server", "ingest", run, tmp_path / "nothing", fails=2)
    assert "no such file" in said
    assert "is not a run directory" in command("server", "run", tmp_path / "nowhere", fails=StoreError.exit_code)


def states(command: Command, *arguments: object) -> dict[str, tuple[str, str]]:
    return {one["stage"]: (one["state"], one["why"]) for one in command("stages", *arguments, "--json")["stages"]}


def test_stages_says_what_would_be_done_again_and_it_is(command: Command, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = yaml.safe_load(config.read_text())
    settings["baselines"] = ["class-list", "centralized", "prompts:class-name"]
    config.write_text(yaml.safe_dump(settings))
    order = ["partition", "clients", "plan", "synthesize", "train", "evaluate", "export"]
    fgl.run(config, out=run)
    found = states(command, run)
    assert {state for state, _ in found.values()} == {"done"}
    assert [name for name in found if "baseline" not in name and "/" not in name] == order
    changes = {
        "classifier.epochs=2": ("train", "evaluate", "export", "baseline:class-list", "baseline:centralized"),
        "synthesis.images_per_class=13": ("plan", "synthesize", "train", "evaluate", "export", "baseline:class-list"),
        "generator.num_inference_steps=3": ("plan", "synthesize", "train", "evaluate", "export", "baseline:class-list"),
        "generator.batch_size=5": ("synthesize", "train", "evaluate", "export", "baseline:class-list"),
        "generator.guidance_scale=1.0": ("clients", "plan", "synthesize", "train", "evaluate", "export"),
        "synthesis.validation_fraction=0.5": ("train", "evaluate", "export", "baseline:class-list"),
        "prompt_strategy.max_prompts=2": ("clients", "plan", "synthesize", "train", "evaluate", "export"),
        "upload.codec=text": ("clients", "plan", "synthesize", "train", "evaluate", "export", "baseline:class-list"),
    }
    for change, stale in changes.items():
        said = states(command, run, "--set", change)
        own = {name for name, (state, _) in said.items() if state == "stale" and "/" not in name}
        assert own - {"baseline:class-list"} == set(stale) - {"baseline:class-list"}, change
        option, _, value = change.partition("=")
        first = next(name for name in said if name in own)
        assert f"{option.split('.')[-1]}: " in said[first][1] or option.startswith("generator."), said[first]
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        changed = yaml.safe_load(config.read_text())
        family, name = option.split(".")
        changed.setdefault(family, {})[name] = yaml.safe_load(value)
        changed["baselines"] = ["class-list", "centralized"]  # the other one is a run with stages of its own
        result = fgl.run(changed, out=copy)
        assert set(order) - set(result["reused_stages"]) <= own, change
        assert set(result["reused_stages"]) & own <= {"train", "evaluate", "export", "baseline:class-list"}, change
        shutil.rmtree(copy)
    shutil.rmtree(run / "train")
    (run / "stages" / "plan.json").write_text("{}")
    said = states(command, run)
    assert said["plan"] == ("not done", "its record is damaged")
    assert said["train"][0] == "stale"


def test_arrays_of_kept_uploads_are_let_go(command: Command, config: Path, tmp_path: Path) -> None:
    """Thousands of uploads may be open at once: none of them may hold memory or a file."""
    import os

    from fgl.contracts.progress import NullProgress
    from fgl.core.orchestrator import reopen
    from fgl.core.server.uploads import opened

    fgl.run(config, out=tmp_path / "run")
    session = reopen(tmp_path / "run", NullProgress())
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    uploads = opened(session, CLIENTS * 100)
    for one in uploads:
        assert np.isfinite(one.arrays["prompt_embeds"]).all()
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "server/uploads" not in maps.read_text()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
