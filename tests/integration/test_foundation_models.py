"""The whole path with Stable Diffusion XL from a Hub: the command line, the real client, the real classes, tiny."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import warm
from tests.helpers.hub import Hub
from tests.helpers.pipelines import save_lora, save_safety_checker, save_xl_pipeline


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    pipeline = save_xl_pipeline(tmp_path / "xl")
    with Hub() as server:
        server.push("mirror/xl", pipeline)
        server.push("who/lora", save_lora(tmp_path / "lora", pipeline))
        server.push("who/checker", save_safety_checker(tmp_path / "checker", strictness=2.0))
        yield server


@pytest.fixture
def config(images: Callable[..., Path], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    settings = {
        "dataset": str(images()),
        "partition": {"name": "iid", "clients": 2},
        "generator": {
            "name": "sdxl",
            "model": "gone/xl",
            "revision": None,
            "mirrors": ["mirror/xl"],
            "lora": "who/lora",
            "scheduler": "LCMScheduler",
            "num_inference_steps": 2,
            "guidance_scale": 1.5,
            "dtype": "fp32",
            "safety_checker": "who/checker",
        },
        "synthesis": {"images_per_class": 4},
        "classifier": {"name": "small", "epochs": 1, "image_size": 32},
        "baselines": "none",
    }
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def fgl(hub: Hub, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return warm.run("from fgl.cli import main; main()", *arguments, env={**hub.env(home), **environment})


def test_a_run_pulls_what_each_side_needs_says_what_it_used_and_runs_again_without_the_hub(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    client, server = tmp_path / "client", tmp_path / "server"
    said = fgl(
        hub,
        client,
        "client",
        "prepare",
        str(config),
        "--simulate",
        "--client",
        "client-00",
        "--out",
        str(tmp_path / "up"),
        "--private",
        str(tmp_path / "kept"),
    )
    assert said.returncode == 0, said.stderr
    asked = {
        request.path.rpartition("/resolve/")[2].partition("/")[2] for request in hub.log if "/resolve/" in request.path
    }
    assert {"text_encoder/model.safetensors", "text_encoder_2/model.safetensors"} <= asked
    assert not {path for path in asked if path.startswith(("unet/diff", "vae/diff", "pytorch_lora"))}

    out = tmp_path / "run"
    said = fgl(hub, server, "run", str(config), "--out", str(out), "--json")
    assert said.returncode == 0, said.stderr
    result = json.loads(said.stdout)
    used = result["generator"]
    assert (used["model"], used["repository"]) == ("gone/xl", "mirror/xl")
    assert len(used["commit"]) == len(used["lora_commit"]) == 40
    assert used["parameters"].keys() == {"text_encoder", "text_encoder_2", "unet", "vae", "total"}
    assert used["image_size"] == [16, 16]
    assert "using its mirror mirror/xl" in said.stderr
    assert result["synthetic"]["images"] == 12

    before = len(hub.log)
    again = fgl(hub, server, "run", str(config), "--out", str(tmp_path / "again"), "--json", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["synthetic"]["digest"] == result["synthetic"]["digest"]
    assert len(hub.log) == before, "a run from the cache asks the Hub for nothing"


def test_a_model_for_the_other_backend_is_refused_with_its_name(hub: Hub, tmp_path: Path) -> None:
    said = fgl(
        hub,
        tmp_path / "home",
        "run",
        "--generator",
        "stable-diffusion",
        "--set",
        "generator.model=mirror/xl",
        "--out",
        str(tmp_path / "run"),
    )
    assert said.returncode == 6
    assert "expected a StableDiffusionPipeline: use generator stable-diffusion-xl" in said.stderr
    assert "Traceback" not in said.stderr
