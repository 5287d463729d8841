"""Captions on the whole path: a run, clients apart, and what of them stays at the client."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import fgl
from fgl.cli import main
from fgl.errors import DataError
from fgl.plugins.prompts.caption_cache import CaptionCache
from fgl.plugins.prompts.caption_model import Captioner
from tests.conftest import CLASSES
from tests.helpers import warm
from tests.helpers.captioners import save_captioner
from tests.helpers.hub import Hub


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path, captioner: Path) -> dict[str, Any]:
    return {
        "dataset": str(images(5)),
        "partition": {"name": "iid", "clients": 2},
        # the small encoder takes 14 characters: what differs comes first
        "prompt_strategy": {
            "name": "caption",
            "model": str(captioner),
            "max_new_tokens": 4,
            "batch_size": 4,
            "template": "{caption}, {label}",
            "max_per_class": 3,
            "choose": "clustered",
        },
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 2,
            "dtype": "fp32",
            "guidance_scale": 2.0,
        },
        "synthesis": {"images_per_class": 3, "shard_size": 9},
        "classifier": {"name": "small", "epochs": 1, "image_size": 16},
        "baselines": "none",
    }


@pytest.fixture
def captioned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through the model."""
    sizes: list[int] = []
    caption = Captioner.caption

    def counting(self: Captioner, images: Any) -> list[str]:
        sizes.append(len(images))
        return caption(self, images)

    monkeypatch.setattr(Captioner, "caption", counting)
    return sizes


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_with_captions_keeps_them_at_the_clients(
    settings: dict[str, Any], captioned: list[int], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = fgl.run(settings, out=out)
    assert set(result["result"]["per_class"]) == set(CLASSES)
    assert sum(captioned) == 12  # 15 images less the test split
    said = set()
    for private in sorted((out / "clients").glob("*/private")):
        captions = lines(private / "captions.jsonl")
        said |= {entry["caption"] for entry in captions}
        summary = json.loads((private / "summary.json").read_text())
        assert summary["notes"]["captions"] == len(captions)
        assert summary["prompts"] <= 3 * len(CLASSES)
    assert len(said) > 1
    for path in [*(out / "server").rglob("*"), out / "report.json", out / "report.md", out / "metrics.jsonl"]:
        if path.is_file():
            data = path.read_bytes()
            assert not [text for text in said if text.encode() in data], f"{path} quotes a caption"
    settings["prompt_strategy"]["template"] = "{label}: {caption}"
    again = fgl.run(settings, out=out)
    assert again["synthetic"]["digest"] != result["synthetic"]["digest"]
    assert len(captioned) == 4, "captions that were kept are made anew"


def test_a_client_apart_prepares_its_captions_and_is_told_what_was_scrubbed(
    settings: dict[str, Any],
    captioned: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "shared.yaml"
    config.write_text(yaml.safe_dump({**settings, "upload": {"run_id": "trial"}}))

    def prepare(*more: str) -> str:
        arguments = [
            "client",
            "prepare",
            str(config),
            "--simulate",
            "--client",
            "client-00",
            "--out",
            str(tmp_path / "upload"),
        ]
        monkeypatch.setattr(sys, "argv", ["fgl", *arguments, "--private", str(tmp_path / "private"), *more])
        with suppress(SystemExit):
            main()
        said = capsys.readouterr()
        assert said.out, said.err
        return said.out

    first = prepare()
    upload = (tmp_path / "upload").read_bytes()
    batches = len(captioned)
    assert "captions: 6" in first
    # as if the model had read a name on one of the pictures
    kept = lines(tmp_path / "private" / "captions.jsonl")
    CaptionCache(tmp_path / "private", kept[0]["model"]).add({kept[0]["image"]: "a boat named Bluebird"})
    summary = json.loads(prepare("--json"))
    assert summary["notes"]["captions"] == 6
    assert summary["notes"]["scrubbed_names"] == 1
    assert len(captioned) == batches, "captioned again"
    assert (tmp_path / "upload").read_bytes() != upload
    assert b"Bluebird" not in (tmp_path / "private" / "prompts.jsonl").read_bytes()


def test_an_unreadable_image_stops_a_run_with_captions_or_is_left_out(
    settings: dict[str, Any], captioned: list[int], tmp_path: Path
) -> None:
    broken = Path(settings["dataset"]) / "river" / "000.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(fgl.FGLError, match=r"000\.png"):
        fgl.run(settings, out=tmp_path / "run")
    fgl.run(
        {**settings, "dataset": {"name": "imagefolder", "path": settings["dataset"], "skip_bad_images": True}},
        out=tmp_path / "run",
    )
    assert sum(captioned) == 11


def test_a_run_notices_that_its_prompts_file_has_changed(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("class,prompt\n0,one\n1,two\n2,three\n")
    settings["prompt_strategy"] = {"name": "prompts-file", "path": str(path)}
    first = fgl.run(settings, out=tmp_path / "run")["synthetic"]["digest"]
    assert fgl.run(settings, out=tmp_path / "run")["synthetic"]["digest"] == first
    path.write_text("class,prompt\n0,one\n1,two\n2,four\n")
    assert fgl.run(settings, out=tmp_path / "run")["synthetic"]["digest"] != first
    path.write_text("class,prompt\n0,one\n1,two\nriwer,four\n")
    with pytest.raises(DataError, match=r"line 4: class: unknown 'riwer'"):
        fgl.run(settings, out=tmp_path / "run")


# Runs, as JSON on stdin; a line for each on stdout: the models of its clients' stage, and whether that was reused.
RUNS = """
import json, sys
import fgl
from pathlib import Path
settings, out, times = json.load(sys.stdin)
for _ in range(times):
    result = fgl.run(settings, out=out)
    record = json.loads((Path(out) / "stages/clients.json").read_text())
    print(json.dumps([record["inputs"].get("prompt_models"), "clients" in result["reused_stages"]]))
"""

# The words of commands, one after the other, as JSON on stdin.
COMMANDS = """
import json, sys
from fgl.cli import main
for words in json.load(sys.stdin):
    sys.argv = ["fgl", *words]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended.code
"""


def test_a_run_notices_that_the_lock_of_its_captioning_model_has_moved(
    settings: dict[str, Any], hub: Hub, captioner: Path, tmp_path: Path
) -> None:
    settings["prompt_strategy"]["model"] = "who/captioner"
    out, environment = str(tmp_path / "run"), hub.env(tmp_path / "home")

    def call(script: str, given: Any) -> list[Any]:
        """The lines of JSON that a process of its own printed."""
        done = warm.run(script, env=environment, given=json.dumps(given))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", "{"))]

    def clients_stage(*before: list[str]) -> tuple[str, str]:
        """What `fgl stages` says of it. before: commands that the same process runs first."""
        said = call(COMMANDS, [*before, ["stages", out, "--json"]])[-1]["stages"]
        return next((one["state"], one["why"]) for one in said if one["stage"] == "clients")

    old = hub.push("who/captioner", captioner)
    assert call(RUNS, [settings, out, 1]) == [[{"who/captioner": old}, False]]
    changed = tmp_path / "changed"
    save_captioner(changed, seed=1)
    new = hub.push("who/captioner", changed)
    hub.log.clear()
    assert clients_stage() == ("done", "")
    assert hub.log == [], "the lock tells"
    moved = ("stale", f"prompt_models.who/captioner: {old} → {new}")
    assert clients_stage(["models", "pull", "who/captioner", "--update"]) == moved
    assert call(RUNS, [settings, out, 2]) == [[{"who/captioner": new}, False], [{"who/captioner": new}, True]]
