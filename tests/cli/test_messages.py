"""Messages that a person is to understand at first reading."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fgl.console import finished
from fgl.core.wire import container
from fgl.errors import UploadFormatError
from tests.helpers.cli import CliResult

Fgl = Callable[..., CliResult]
SMALL = (
    "--images-per-class",
    "2",
    "--set",
    "classifier.epochs=1",
    "--set",
    "generator.num_inference_steps=1",
    "--set",
    "dataset.max_per_class=4",
    "--partition",
    "iid",
    "--clients",
    "2",
)


def test_more_uploads_than_clients_are_refused_before_anything_runs(fgl: Fgl) -> None:
    for last in ("--dry-run", "--quiet"):
        said = fgl("run", *SMALL, "--set", "upload.min_clients=9", "--out", "run", last)
        assert said.code == 2, said.err
        assert "upload.min_clients: got 9; at most 2" in said.err
    said = fgl("config", "show", "--set", "upload.min_clients=3", "--set", "upload.clients=[north, south]")
    assert said.code == 2
    assert "at most 2: upload.clients lists no more" in said.err


def test_both_figures_of_fedavgs_bytes_are_in_one_sentence_that_tells_them_apart(fgl: Fgl, tmp_path: Path) -> None:
    assert fgl("run", *SMALL, "--baselines", "fedavg", "--out", "run", "--quiet").code == 0
    result = json.loads((tmp_path / "run" / "report.json").read_text())
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    parameters, files = result["upload"]["fedavg_bytes_per_round"], result["baselines"][0]["bytes"]
    assert parameters < files
    line = next(line for line in text.splitlines() if "FedAvg with this classifier" in line)
    assert f"{parameters:,} bytes of parameters a round" in line
    assert f"as files, each with a header and a checksum, {files:,}" in line


def test_stages_say_what_share_of_the_images_is_there(fgl: Fgl, tmp_path: Path) -> None:
    given = (*SMALL, "--set", "synthesis.shard_size=8", "--baselines", "none", "--out", "run", "--quiet")
    assert fgl("run", *given).code == 0
    (tmp_path / "run" / "stages" / "synthesize.json").unlink()
    last = sorted((tmp_path / "run" / "server" / "shards").glob("shard-*.json"))[-1]
    last.unlink()
    line = next(line for line in fgl("stages", "run").out.splitlines() if line.startswith("synthesize"))
    assert re.search(r"2 of 3 shards are there, 16 of 20 images \(80%\)", line), line
    for path in (tmp_path / "run" / "server" / "shards").glob("shard-*.json"):
        path.unlink()
    line = next(line for line in fgl("stages", "run").out.splitlines() if line.startswith("synthesize"))
    assert "0 of 3 shards are there" in line


@pytest.mark.parametrize("keep", [200, 50, 12])
def test_a_cut_upload_is_called_cut(keep: int) -> None:
    import numpy as np
    from safetensors.numpy import save

    data = save({"a": np.zeros(100, np.float32)})
    with pytest.raises(UploadFormatError) as refused:
        container.layout(data[:keep])
    said = str(refused.value)
    assert "cut" in said
    assert "-" not in said.replace("refused: ", ""), "no negative number of bytes"


def test_the_report_shows_its_pictures_first_and_its_configuration_last(fgl: Fgl, tmp_path: Path) -> None:
    assert fgl("run", *SMALL, "--baselines", "none", "--out", "run", "--quiet").code == 0
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0].startswith("## Synthetic images")
    assert headings[-1] == "## Configuration"
    assert "Look at these before the figures" in text
    assert text.index("<details>") > text.index("## Configuration")
    assert text.rstrip().endswith("</details>")


def test_a_dry_run_fails_where_a_model_is_not_here_and_may_not_be_pulled(
    fgl: Fgl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    given = ("--prompt-strategy", "caption", "--set", "prompt_strategy.model=nobody/captioner", "--dry-run")
    said = fgl("run", *SMALL, *given, "--baselines", "none")
    assert said.code == 6, said.err
    assert "nobody/captioner" in said.err
    assert "everything fits" not in said.out


def test_a_report_of_few_images_says_that_its_scores_are_of_the_last_epoch(fgl: Fgl, tmp_path: Path) -> None:
    said = fgl("run", *SMALL, "--baselines", "none", "--out", str(tmp_path / "few"), "--threads", "1")
    assert said.code == 0, said.err
    text = (tmp_path / "few" / "report.md").read_text(encoding="utf-8")
    assert "No epoch is selected" in text
    assert "Of the last epoch." in text
    assert "1 thread;" in text


@pytest.mark.parametrize(("done", "words"), [(1, "1 round in"), (2, "2 rounds in"), (0, "0 rounds in")])
def test_a_line_of_progress_counts_one_as_one(done: int, words: str) -> None:
    assert f"rounds: {words} 3.0 s" in finished("rounds", done, 3.0, "rounds")
