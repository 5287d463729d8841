"""`fgl audit`: what a person types and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.cli import CliResult


@pytest.fixture
def run(fgl: Callable[..., CliResult], images: Callable[..., Path], pipeline: Path) -> str:
    given = [
        "--dataset",
        str(images(per_class=12)),
        "--generator",
        "stable-diffusion",
        "--partition",
        "iid",
        "--clients",
        "2",
        "--images-per-class",
        "6",
        "--out",
        "run",
        "--quiet",
    ]
    for one in (
        f"generator.model={pipeline}",
        "generator.num_inference_steps=1",
        "generator.dtype=fp32",
        "classifier.epochs=1",
        "classifier.image_size=16",
        "baselines=none",
    ):
        given += ["--set", one]
    assert fgl("run", *given).code == 0
    return "run"


def test_an_audit_prints_tables_and_draws(fgl: Callable[..., CliResult], run: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    asked = ["--shadows", "4", "--methods", "fgl, centralized", "--features", "pixels", "--closest", "2"]
    said = fgl("audit", run, *asked, "--set", "audit.candidates=100")
    assert said.code == 0, said.err
    for word in (
        "membership:",
        "LiRA",
        "threshold on the loss",
        "TPR at FPR 10 %",
        "balanced accuracy",
        "centralized: real data of all clients",
        "4 shadows ask for 1 distinct",
        "memorization:",
        "closer than the nearest 1 %",
        "mean colours",
        "uploads:",
        "text recovered",
        "client-01",
        "total variation",
        "run/audit/audit.md",
        "run/audit/roc.png",
    ):
        assert word in said.out, word
    assert Image.open(tmp_path / "run" / "audit" / "roc.png").width > 800
    drawn = (tmp_path / "run" / "audit" / "roc.svg").read_text(encoding="utf-8")
    for word in (
        "centralized: real data of all clients (ceiling): LiRA",
        "fgl one-shot, class-name prompts: threshold",
        "false-positive rate",
        "chance",
    ):
        assert word in drawn, word
    assert "](<audit/roc.png>)" in (tmp_path / "run" / "report.md").read_text()
    found = json.loads(fgl("audit", run, *asked, "--set", "audit.candidates=100", "--json").out)
    assert found["membership"]["methods"]["fgl"]["as_run"] == 4
    # the run itself is as it was
    stages = json.loads(fgl("stages", run, "--json").out)["stages"]
    assert {one["state"] for one in stages} == {"done"}


WRONG: list[tuple[list[str], int, list[str]]] = [
    (["--methods", "fgl,fedavgg"], 2, ["audit.methods", "no such method", "did you mean 'fedavg'"]),
    (["--methods", "fgl,fgl"], 2, ["audit.methods", "each name once"]),
    (["--methods", ","], 2, ["audit.methods", "at least 1"]),
    (["--shadows", "5"], 2, ["audit.shadows", "got 5", "a multiple of 2"]),
    (["--shadows", "2"], 2, ["audit.shadows", "4 or more"]),
    (["--rounds", "0"], 2, ["audit.rounds", "1 or more"]),
    (["--parts", "memory"], 2, ["audit.parts", "'memorization'"]),
    (["--closest", "0"], 2, ["audit.closest", "1 or more"]),
    (["--features", "dinov3"], 2, ["did you mean 'dinov2'"]),
    (["--dictionary", "nowhere.txt"], 2, ["audit.dictionary", "'nowhere.txt'", "a prompt a line"]),
    (["--dictionary", "empty.txt"], 2, ["audit.dictionary", "holds no text"]),
    (["--set", "audit.shadow=4"], 2, ["audit.shadow", "did you mean 'shadows'"]),
    (["--set", "classifier.epochs=4"], 2, ["classifier", "fgl run"]),
]


def test_what_is_wrong_is_said_before_anything_is_computed(
    fgl: Callable[..., CliResult], run: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    for arguments, code, words in WRONG:
        said = fgl("audit", run, *arguments)
        assert (said.code, said.out) == (code, ""), (arguments, said.err)
        for word in words:
            assert word in said.err, (arguments, said.err)
        assert "Traceback" not in said.err
    assert not (tmp_path / "run" / "audit").exists()


def test_an_audit_of_no_run_is_an_error(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = fgl("audit", "empty")
    assert said.code == 7
    assert "is not a run directory" in said.err


def test_clients_that_are_elsewhere_leave_the_uploads(
    fgl: Callable[..., CliResult], images: Callable[..., Path], pipeline: Path, tmp_path: Path
) -> None:
    folder = images(per_class=6)
    (tmp_path / "shared.yaml").write_text(
        f"dataset: {folder}\nupload: {{clients: [north]}}\ncontrols: none\nsynthesis: {{images_per_class: 4}}\n"
        f"generator: {{name: stable-diffusion, model: {pipeline}, num_inference_steps: 1, dtype: fp32}}\n"
        "classifier: {name: small, epochs: 1, image_size: 16}\naudit: {candidates: 100}\n"
    )
    said = fgl(
        "client",
        "prepare",
        "shared.yaml",
        "--dataset",
        str(folder),
        "--client",
        "north",
        "--out",
        "north.safetensors",
        "--private",
        "private",
        "--set",
        f"generator.model={pipeline}",
    )
    assert said.code == 0, said.err
    assert fgl("server", "ingest", "run", "north.safetensors", "--config", "shared.yaml").code == 0
    said = fgl("audit", "run")
    assert said.code == 7
    assert "complete it with fgl server run run" in said.err
    assert fgl("server", "run", "run", "--quiet").code == 0
    said = fgl("audit", "run")
    assert said.code == 0, said.err
    assert "membership was not measured: shadow models are made of the clients' images, which are elsewhere" in said.out
    assert "memorization was not measured" in said.out
    assert "class recovered" in said.out
    assert "whether the found texts are theirs is not known here" in said.out
    said = fgl("audit", "run", "--parts", "membership")
    assert said.code == 2
    assert "audit.parts" in said.err
