"""The whole path on real classes: images in folders, clients, a small pipeline, a classifier, a report."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fgl
from fgl.contracts.federation import ClientFailure
from fgl.contracts.progress import NullProgress
from fgl.contracts.prompts import ClientContext, Prompt
from fgl.core.client import prepare as client_prepare
from fgl.core.client import private_folder, site
from fgl.core.config.saved import load_config
from fgl.core.config.schema import RunConfig
from fgl.core.orchestrator import digest
from fgl.core.plugin_manager import PluginManager
from fgl.core.synthesis.shards import read_shards
from fgl.errors import ConfigError, DataError, StoreError, UploadError
from fgl.plugins.federations.local import LocalFederation
from fgl.plugins.federations.options import LocalOptions
from fgl.plugins.prompts.class_name import ClassName
from tests.conftest import CLASSES
from tests.helpers.installed import install
from tests.helpers.settings import small

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "dataset": str(images(**changes.pop("data", {}))),
            "partition": {"name": "iid", "clients": 2},
            "generator": {
                "name": "stable-diffusion",
                "model": str(pipeline),
                "num_inference_steps": 2,
                "dtype": "fp32",
                "guidance_scale": 2.0,
            },
            "synthesis": {"images_per_class": 5, "shard_size": 4},
            "classifier": {"name": "small", "epochs": 1, "image_size": 32},
            "baselines": "none",
        }
        for key, value in changes.items():
            base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        return base

    return make


def test_samples_that_a_listed_partition_leaves_out_are_nobodys(settings: Any, tmp_path: Path) -> None:
    who = tmp_path / "who.json"
    who.write_text(json.dumps({"north": [0, 1, 2, 20, 21], "south": [3, 22]}))
    asked = settings(baselines=["centralized"])
    asked["partition"] = {"name": "listed", "path": str(who)}
    result = fgl.run(asked, out=tmp_path / "run")
    assert sum(sum(counts) for counts in result["partition"]["samples"].values()) == 7
    assert result["baselines"][0]["images"] == 7, "pooled is what clients hold"
    who.write_text(json.dumps({"north": [0, 1, 2, 20, 21], "south": [3, 22, 23]}))
    again = fgl.run(asked, out=tmp_path / "run")
    assert "partition" not in again["reused_stages"], "the file is another"
    assert again["baselines"][0]["images"] == 8


def test_a_run_leaves_a_folder_that_explains_every_number(settings: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = fgl.run(settings(baselines=["class-list", "centralized", "fedavg", "local"]), out=out)
    assert result["schema_version"] == 2
    assert result["synthetic"]["images"] == 15
    assert 0 <= result["result"]["selected"]["top1"] <= 1
    assert 0 <= result["result"]["last"]["top1"] <= 1
    assert set(result["result"]["per_class"]) == set(CLASSES)
    sizes = {path.stem: path.stat().st_size for path in (out / "server" / "uploads").glob("*.safetensors")}
    assert result["upload"]["bytes_per_client"] == sizes
    assert result["upload"]["bytes_total"] == sum(sizes.values())
    assert 0 < result["upload"]["text_bytes_total"] < result["upload"]["bytes_total"]
    assert [baseline["name"] for baseline in result["baselines"]] == ["class-list", "centralized", "fedavg", "local"]
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(result))
    text = (out / "report.md").read_text()
    for name in CLASSES:
        assert name in text
    prose = text.partition("## Configuration")[0]
    prose = prose.replace(f"fgl {version('fgl')}", "fgl")
    prose = re.sub(r"\| \d+\.\d \|", "|", prose)  # seconds have one digit, which may be a zero
    assert not re.search(r"None|True|False|[{}]|\['|\d\.0\b(?!%)", prose), "Python's words for a person"
    assert "- size of an image (height × width): 16 × 16 pixels" in prose
    assert re.search(r"^- parameters: text encoder [\d,]+, unet [\d,]+, vae [\d,]+, total [\d,]+$", prose, re.M)
    assert len(list((out / "sheets").glob("*.png"))) == 3
    assert load_config(out / "config.yaml", PluginManager.load()).to_dict() == result["config"]
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"partition", "clients", "plan", "synthesize", "train", "evaluate"} <= {event["stage"] for event in events}
    assert digest(out) == result["synthetic"]["digest"]


def test_class_name_prompts_and_the_class_list_alone_ask_for_the_same_images(settings: Run, tmp_path: Path) -> None:
    result = fgl.run(settings(baselines=["class-list"]), out=tmp_path / "run")
    (baseline,) = result["baselines"]
    assert "same set of images" in baseline["note"]
    assert baseline["top1"] == result["result"]["selected"]["top1"]
    other = fgl.run(settings_again(settings, tmp_path, prompt_strategy="attributes"), out=tmp_path / "other")
    assert "same set of images" not in other["baselines"][0]["note"]
    assert other["baselines"][0]["images"] == 15


def settings_again(settings: Run, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Settings over freshly written images: the fixture writes them where the earlier ones lie."""
    shutil.rmtree(tmp_path / "images")
    return settings(baselines=["class-list"], **changes)


def test_the_same_command_again_reuses_everything(settings: Run, tmp_path: Path) -> None:
    config = settings()
    first = fgl.run(config, out=tmp_path / "run")
    again = fgl.run(config, out=tmp_path / "run")
    assert first["reused_stages"] == []
    assert again["reused_stages"] == ["partition", "clients", "plan", "synthesize", "train", "evaluate", "export"]
    assert again["result"] == first["result"]
    assert again["synthetic"]["digest"] == first["synthetic"]["digest"]


def test_a_run_that_lost_shards_makes_them_again_with_the_same_digest(settings: Run, tmp_path: Path) -> None:
    config = settings()
    first = fgl.run(config, out=tmp_path / "run")
    shards = tmp_path / "run" / "server" / "shards"
    (shards / "shard-00001.json").unlink()
    (shards / "shard-00002.parquet").write_bytes(b"cut")
    before = (shards / "shard-00000.parquet").stat().st_mtime_ns
    again = fgl.run(config, out=tmp_path / "run")
    assert again["synthetic"]["digest"] == first["synthetic"]["digest"]
    assert (shards / "shard-00000.parquet").stat().st_mtime_ns == before
    assert again["result"] == first["result"]


def test_a_changed_option_runs_again_what_depends_on_it(settings: Run, tmp_path: Path) -> None:
    config = settings()
    fgl.run(config, out=tmp_path / "run")
    config["classifier"]["epochs"] = 2
    again = fgl.run(config, out=tmp_path / "run")
    assert again["reused_stages"] == ["partition", "clients", "plan", "synthesize"]


def test_each_client_in_a_process_of_its_own_gives_the_same_bytes(
    settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(upload={"codec": "fp32"})
    together = fgl.run(config, out=tmp_path / "one")
    here: list[bytes] = []
    monkeypatch.setattr(
        client_prepare, "prepare", lambda *given: here.append(given)
    )  # a client that ran in this process would end up here
    apart = fgl.run({**config, "federation": {"name": "local", "isolation": "process"}}, out=tmp_path / "two")
    assert here == []
    for name in together["upload"]["bytes_per_client"]:
        relative = Path("server") / "uploads" / f"{name}.safetensors"
        assert (tmp_path / "one" / relative).read_bytes() == (tmp_path / "two" / relative).read_bytes()
    assert apart["synthetic"]["digest"] == together["synthetic"]["digest"]


CODECS = ("fp16", "fp32", "int8", "text")


def texts_below(folder: Path, prompts: list[dict[str, Any]]) -> list[tuple[str, Path]]:
    """Every (text of a prompt, file below the folder that holds it)."""
    told = {text for prompt in prompts for text in (prompt["text"], prompt["negative"]) if text}
    told |= {part for text in told for part in text.split(", ") if part not in CLASSES}
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            # Text hides in compressed columns: look at what they decode to as well.
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += repr(pq.read_table(path).drop_columns(["image"] * (path.parent.name == "shards"))).encode()
            found += [(text, path) for text in told if text.encode() in data]
    return found


def kept_prompts(run: Path) -> list[dict[str, Any]]:
    """What the clients have kept."""
    files = run.glob("clients/*/private/prompts.jsonl")
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.mark.parametrize("codec", CODECS)
def test_the_server_folder_holds_text_of_a_prompt_only_where_text_was_chosen(
    settings: Run, tmp_path: Path, codec: str
) -> None:
    out = tmp_path / "run"
    result = fgl.run(settings(prompt_strategy="attributes", upload={"codec": codec}), out=out)
    prompts = kept_prompts(out)
    assert prompts
    found = texts_below(out / "server", prompts)
    if codec != "text":
        assert not found
        assert not (out / "server" / "encoded").exists()
    else:
        assert {text for text, _ in found} >= {prompt["text"] for prompt in prompts}
        assert {path.parent.name for _, path in found} == {"uploads"}
    up = result["upload"]
    assert up["codec"] == codec
    assert up["bytes_by_codec"][codec] == {
        "total": up["bytes_total"],
        "per_client": up["bytes_per_client"],
        "how": "measured",
    }
    sizes = [up["bytes_by_codec"][name]["total"] for name in ("fp32", "fp16", "int8", "text")]
    assert sizes == sorted(sizes, reverse=True)
    errors = up["codec_error"][codec]
    for name in ("prompt_embeds", "negative_prompt_embeds") if codec != "text" else ():
        assert (errors[name]["max_abs"] == 0) == (errors[name]["relative_rms"] == 0) == (codec == "fp32")
        assert errors[name]["relative_rms"] < 0.01
    text = (out / "report.md").read_text()
    for name in CODECS:
        assert f"| {name} | {up['bytes_by_codec'][name]['total']:,} |" in text


def test_what_other_codecs_would_cost_is_what_they_do_cost(settings: Run, tmp_path: Path) -> None:
    config = settings(prompt_strategy="attributes")
    counted = {}
    for codec in CODECS:
        result = fgl.run({**config, "upload": {"codec": codec}}, out=tmp_path / codec)
        counted[codec] = {
            name: (one["total"], one["per_client"]) for name, one in result["upload"]["bytes_by_codec"].items()
        }
        kept = json.loads((tmp_path / codec / "clients" / "client-00" / "private" / "summary.json").read_text())
        assert kept["codec"] == codec
        assert kept["upload_bytes"] == kept["bytes_by_codec"][codec]
        assert set(kept["codec_error"]) == set(result["upload"]["codec_error"][codec])
    assert counted["fp16"] == counted["fp32"] == counted["int8"] == counted["text"]


def test_texts_give_what_their_embeddings_give(settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same set as fp32, with no text encoder at the clients; and again after losses."""
    config = settings(prompt_strategy="attributes", baselines=["class-list"])
    exact = fgl.run({**config, "upload": {"codec": "fp32"}}, out=tmp_path / "fp32")

    def nothing(*_: object) -> None:
        raise AssertionError("a client that sends text asked for the generator")

    with monkeypatch.context() as patch:
        patch.setattr(site.Site, "encoder", property(nothing))
        patch.setattr(site.Site, "generator", property(nothing))
        texts = fgl.run({**config, "upload": {"codec": "text"}}, out=tmp_path / "text")
    assert texts["synthetic"]["digest"] == exact["synthetic"]["digest"]
    assert texts["result"] == exact["result"]
    assert texts["baselines"][0]["images"] == exact["baselines"][0]["images"]
    uploads, encoded = tmp_path / "fp32" / "server" / "uploads", tmp_path / "text" / "server" / "encoded"
    assert sorted(path.name for path in encoded.iterdir()) == sorted(path.name for path in uploads.iterdir())
    for path in encoded.glob("*.safetensors"):
        assert path.read_bytes() == (uploads / path.name).read_bytes()
    (encoded / "client-00.safetensors").write_bytes(b"cut")
    (encoded / "client-01.json").unlink()
    shutil.rmtree(tmp_path / "text" / "server" / "shards")
    again = fgl.run({**config, "upload": {"codec": "text"}}, out=tmp_path / "text")
    assert again["synthetic"]["digest"] == exact["synthetic"]["digest"]
    assert {"clients", "plan"} <= set(again["reused_stages"])
    for path in encoded.glob("*.safetensors"):
        assert path.read_bytes() == (uploads / path.name).read_bytes()
    back = fgl.run({**config, "upload": {"codec": "fp16"}}, out=tmp_path / "text")
    assert back["upload"]["codec"] == "fp16"
    assert not list(encoded.glob("*"))
    assert not texts_below(tmp_path / "text" / "server", kept_prompts(tmp_path / "text"))


def test_texts_are_encoded_again_by_another_encoder(settings: Run, tmp_path: Path, pipeline: Path) -> None:
    from tests.helpers.pipelines import save_pipeline

    config = settings(prompt_strategy="attributes", upload={"codec": "text"})
    first = fgl.run(config, out=tmp_path / "run")
    encoded = tmp_path / "run" / "server" / "encoded" / "client-00.safetensors"
    before = encoded.read_bytes()
    config["generator"]["model"] = str(save_pipeline(tmp_path / "other", seed=1))
    second = fgl.run(config, out=tmp_path / "run")
    assert encoded.read_bytes() != before
    assert second["synthetic"]["digest"] != first["synthetic"]["digest"]
    config["generator"]["model"] = str(pipeline)
    assert fgl.run(config, out=tmp_path / "run")["synthetic"]["digest"] == first["synthetic"]["digest"]
    assert encoded.read_bytes() == before


def test_the_classifier_opens_in_transformers_with_its_labels(settings: Run, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    fgl.run(settings(), out=tmp_path / "run")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run" / "classifier")
    assert [model.config.id2label[index] for index in range(3)] == sorted(CLASSES)


def test_domains_reach_the_pictures_and_the_score(settings: Run, tmp_path: Path) -> None:
    config = settings(data={"domains": ("photo", "sketch")}, partition={"name": "domain"}, prompt_strategy="domain")
    del config["partition"]["clients"]
    result = fgl.run(config, out=tmp_path / "run")
    assert set(result["result"]["selected"]["per_domain"]) == {"photo", "sketch"}
    rows = [row for row, _ in read_shards(tmp_path / "run" / "server" / "shards")]
    assert {row["domain"] for row in rows} == {"photo", "sketch"}
    assert len(result["upload"]["bytes_per_client"]) == 2


def test_what_needs_domains_is_refused_before_anything_runs(settings: Run, tmp_path: Path) -> None:
    config = settings(prompt_strategy="domain", partition={"name": "domain"}, baselines=["public"])
    del config["partition"]["clients"]
    with pytest.raises(ConfigError) as caught:
        fgl.run(config, out=tmp_path / "run")
    assert {problem.key for problem in caught.value.problems} == {"partition", "prompt_strategy", "baselines"}
    assert not (tmp_path / "run").exists()


def test_one_client_only_works(settings: Run, tmp_path: Path) -> None:
    result = fgl.run(settings(partition={"name": "iid", "clients": 1}), out=tmp_path / "run")
    assert len(result["upload"]["bytes_per_client"]) == 1


def test_the_server_never_opens_what_a_client_keeps(
    settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare_and_forget(payload: bytes, *more: Any) -> bytes:
        reply = prepare(payload, *more)
        shutil.rmtree(json.loads(payload)["private"])
        return reply

    prepare = client_prepare.prepare
    monkeypatch.setattr(client_prepare, "prepare", prepare_and_forget)
    result = fgl.run(settings(), out=tmp_path / "run")
    assert not list((tmp_path / "run").glob("clients/*/private"))
    assert result["upload"]["text_bytes_total"] == result["upload"]["bytes_by_codec"]["text"]["total"] > 0
    assert set(result["upload"]["prompts"].values()) == {3}


def test_classes_that_nobody_uploads_are_named(settings: Run, tmp_path: Path) -> None:
    who = tmp_path / "who.json"
    who.write_text(json.dumps({"north": [*range(19, 38)], "south": [*range(38, 57)]}))
    config = settings() | {"partition": {"name": "listed", "path": str(who)}}
    result = fgl.run(config, out=tmp_path / "run")
    name = sorted(CLASSES)[0]
    assert result["synthetic"]["missing_classes"] == [name]
    assert result["synthetic"]["images"] == 10
    report = (tmp_path / "run" / "report.md").read_text()
    assert name in report.split("no client sent a row of these classes")[1].splitlines()[0]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_prompt_strategy_cannot_end_the_run_and_its_last_words_stay_with_the_client(
    settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    prompts = ClassName.prompts

    def leave(self: ClassName, context: ClientContext) -> list[Prompt]:
        if context.client_id == "client-00":
            raise error("/home/secret")
        return prompts(self, context)

    monkeypatch.setattr(ClassName, "prompts", leave)
    out = tmp_path / "run"
    result = fgl.run(settings(), out=out)
    assert list(result["upload"]["refused"]) == ["client-00"]
    assert set(result["upload"]["bytes_per_client"]) == {"client-01"}
    for name in ("metrics.jsonl", "report.md", "report.json"):
        assert "secret" not in (out / name).read_text()
    assert "/home/secret" in (out / "clients" / "client-00" / "private" / private_folder.ERROR).read_text()


def test_a_prompt_strategy_that_raises_is_named_to_the_client(
    settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = ClassName.prompts

    def fail(self: object, context: object) -> None:
        raise KeyError("colour")

    monkeypatch.setattr(ClassName, "prompts", fail)
    with pytest.raises(
        UploadError, match=r"client-00, client-01: BrokenPluginError at the client: one of its plugins is"
    ):
        fgl.run(settings(), out=tmp_path / "run")
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == [f"client-0{n}: prompt strategy 'class-name' raised KeyError: 'colour'" for n in (0, 1)]
    private = tmp_path / "run" / "clients" / "client-00" / "private"
    assert 'raise KeyError("colour")' in (private / private_folder.ERROR).read_text()
    monkeypatch.setattr(ClassName, "prompts", prompts)
    fgl.run({**settings_again(settings, tmp_path), "baselines": "none"}, out=tmp_path / "run")
    assert not (private / private_folder.ERROR).exists()


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_of_a_client_that_fails_no_more_than_the_class_of_its_error_crosses(
    settings: Run, tmp_path: Path, isolation: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret-ward" / "prompts.csv"
    path.parent.mkdir()
    path.write_text("class,prompt,client\n0,a,\n1,b,\n2,a secret patient,client-00\n")
    strategy = {"name": "prompts-file", "path": str(path)}
    config = settings(prompt_strategy=strategy, federation={"name": "local", "isolation": isolation})
    out = tmp_path / "run"
    result = fgl.run(config, out=out)
    ((name, refused),) = result["upload"]["refused"].items()
    assert (name, refused["rule"]) == ("client-01", "answer")
    assert refused["reason"].startswith("DataError at the client: its data cannot be read, or is not what it should be")
    # the configuration, which all know, names the file; what is wrong with it, and where clients keep things, is theirs
    report = json.loads((out / "report.json").read_text())
    del report["config"], report["run_dir"]
    said = [json.dumps(report), (out / "metrics.jsonl").read_text()]
    said += [path.read_bytes().decode(errors="replace") for path in (out / "server").rglob("*") if path.is_file()]
    for text in said:
        assert "secret" not in text
        assert "no prompt for" not in text
        assert str(out / "clients") not in text
    assert "no prompt for" not in (out / "report.md").read_text()
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["reason"] for event in events if event["event"] == "refused"] == [refused["reason"]]
    message = f"{path}: no prompt for '林地', of which client-01 holds images; add rows"
    assert f"client-01: {message}" in caplog.text + capsys.readouterr().err, "its own people are not told"
    assert message in (out / "clients" / name / "private" / private_folder.ERROR).read_text()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.write(2, b'/home/secret'); os._exit(3)", "its process ended with code 3"),
        ("raise OSError('/home/secret')", "OSError at the client: an error that fgl does not expect"),
        ("class Mine(OSError): pass\n    raise Mine('/home/secret')", "OSError at the client"),
        ("import time; os = print('/home/secret'); time.sleep(60)", "no answer within 20 s"),
        ("return b'x' * 5", ""),
    ],
)
def test_what_a_clients_process_says_stays_on_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    (tmp_path / "clients_task.py").write_text(f"def task(payload):\n    {code}\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    federation = LocalFederation(LocalOptions(isolation="process", timeout=20))
    ((name, reply),) = federation.call(["a"], "clients_task:task", lambda _: b"", NullProgress())
    if not reason:
        assert (name, reply) == ("a", b"xxxxx")
        return
    assert isinstance(reply, ClientFailure)
    assert reply.reason.startswith(reason)
    assert "secret" not in reply.reason
    assert "/home/secret" in capsys.readouterr().err


def test_texts_that_are_cut_are_said_once_for_each_client_with_an_example(
    settings: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = "{label}, " + "very " * 40
    strategy = {"name": "class-name", "templates": [long + "wide", "{label}"], "negative_prompt": None}
    classes = {"data": {"classes": ("a", "b", "c")}}
    fgl.run(settings(prompt_strategy=strategy, **classes), out=tmp_path / "run")
    said = [record.getMessage() for record in caplog.records if "longer than" in record.getMessage()]
    assert len(said) == 2
    for number, line in enumerate(said):
        assert line.startswith(f"client-0{number}: 3 of 6 prompts are longer than the text encoder takes")
        assert "such as one of class 'a' ('a, very very" in line
        private = tmp_path / "run" / "clients" / f"client-0{number}" / "private"
        assert json.loads((private / "summary.json").read_text())["notes"]["prompts_truncated"] == 3
    caplog.clear()
    texts = {**settings_again(settings, tmp_path, prompt_strategy=strategy, **classes), "baselines": "none"}
    fgl.run({**texts, "upload": {"codec": "text"}}, out=tmp_path / "text")
    said = [record.getMessage() for record in caplog.records if "longer than" in record.getMessage()]
    assert len(said) == 2, "where the server encodes, it says so for each client"
    assert all("3 of 6 prompts" in line and "very" not in line for line in said)


def test_pictures_need_not_be_square(settings: Run, tmp_path: Path) -> None:
    config = settings(generator={"height": 16, "width": 24})
    fgl.run(config, out=tmp_path / "run")
    sheet = Image.open(next((tmp_path / "run" / "sheets").glob("*.png")))
    assert (sheet.width, sheet.height) == (10 * 24 * 4, 16 * 4)


def test_what_an_earlier_run_left_does_not_pass_for_this_run(settings: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(partition={"clients": 3}), out=out)
    shutil.rmtree(tmp_path / "images")
    fgl.run(settings(partition={"clients": 2}), out=out)
    assert len(list((out / "server" / "uploads").glob("*.safetensors"))) == 2
    assert len(list((out / "server" / "uploads").iterdir())) == 4
    assert len(list((out / "clients").iterdir())) == 2


def test_all_controls_leave_out_what_the_data_cannot_serve(settings: Run, tmp_path: Path) -> None:
    result = fgl.run(settings(baselines="all", rounds={"local_epochs": 1}), out=tmp_path / "run")
    names = [baseline["name"] for baseline in result["baselines"]]
    assert names == ["prompts:attributes", "class-list", "fedavg", "local", "centralized"]
    assert result["config"]["baselines"] == "all"


def test_a_digest_of_half_a_set_is_an_error(settings: Run, tmp_path: Path) -> None:
    fgl.run(settings(), out=tmp_path / "run")
    for path in (tmp_path / "run" / "server" / "shards").glob("shard-00001.*"):
        path.unlink()
    with pytest.raises(StoreError, match="not finished"):
        digest(tmp_path / "run")


def test_a_hook_that_fails_does_not_hide_why_the_run_failed(
    settings: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = "from fgl import hookimpl\n@hookimpl\ndef fgl_run_failed(error):\n    raise KeyError('no such service')\n"
    install(monkeypatch, tmp_path / "plugin", "fgl_service", source, "service")
    with pytest.raises(DataError) as caught:
        fgl.run(settings(partition={"clients": 10_000}), out=tmp_path / "run")
    assert "no such service" not in str(caught.value)
    assert "plugin 'service' raised in fgl_run_failed; the run goes on: KeyError: 'no such service'" in caplog.messages


def test_one_class_only_is_an_error(settings: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class"):
        fgl.run(settings(data={"classes": ("alone",)}), out=tmp_path / "run")


def test_an_unreadable_image_is_named_and_can_be_left_out(settings: Run, tmp_path: Path) -> None:
    config = settings()
    bad = tmp_path / "images" / "river" / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    with pytest.raises(DataError, match=r"bad\.png"):
        fgl.run(config, out=tmp_path / "run")
    config["dataset"] = {"name": "imagefolder", "path": config["dataset"], "skip_bad_images": True}
    result = fgl.run(config, out=tmp_path / "run")
    assert len(result["dataset"]["skipped"]) == 1
    assert "bad.png" in result["dataset"]["skipped"][0]


def test_the_shards_hold_what_the_digest_says(settings: Run, tmp_path: Path) -> None:
    from datasets import load_dataset

    fgl.run(settings(), out=tmp_path / "run")
    data = load_dataset(
        "parquet",
        data_files=str(tmp_path / "run" / "server" / "shards" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert len(data) == 15
    assert np.asarray(data[0]["image"]).shape == (16, 16, 3)
    assert data.features["label"].names == sorted(CLASSES)


def test_config_is_a_value(settings: Run) -> None:
    config = load_config(settings(), PluginManager.load())
    assert isinstance(config, RunConfig)
    assert load_config(config, PluginManager.load()) is config


def test_prompt_names_reach_clients_and_class_list_and_make_earlier_uploads_stale(
    images: Callable[..., Path], pipeline: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = small(images(per_class=6), pipeline, baselines=["class-list"], prompt_strategy={"name": "class-name"})
    plain = fgl.run(settings, out=tmp_path / "run")
    assert plain["config"]["dataset"]["prompt_names"] is None
    settings["dataset"] = {"name": "imagefolder", "path": settings["dataset"], "prompt_names": {"river": "wet ribbon"}}
    named = fgl.run(settings, out=tmp_path / "run")
    assert "clients" not in named["reused_stages"]
    assert "partition" in named["reused_stages"]
    assert named["synthetic"]["digest"] != plain["synthetic"]["digest"]
    assert "reused" in named["baselines"][0]["note"], "the server writes the prompts that clients write"
    assert "river" in named["result"]["per_class"], "reports call classes as the data does"
    kept = [(file.read_text()) for file in (tmp_path / "run" / "clients").rglob("prompts.jsonl")]
    assert kept
    assert all("wet ribbon" in text and "river" not in text for text in kept)
