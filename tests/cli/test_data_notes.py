"""What a person is told of their data: by the check, before a run, in its log and in its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.cli import CliResult

SUGGESTED = "this data has 2 domains (Hospital E, Hospital W): --partition domain makes each a client"
SMALL = ("--images-per-class", "2", "--set", "generator.num_inference_steps=2", "--set", "classifier.epochs=1")


def put(folder: Path, start: int, count: int = 6) -> None:
    folder.mkdir(parents=True)
    for number in range(start, start + count):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """Two hospitals, with a file that is not read."""
    for place, site in enumerate(("Hospital E", "Hospital W")):
        put(tmp_path / "data" / site / "cat", 100 * place)
        put(tmp_path / "data" / site / "dog", 1000 + 100 * place)
    (tmp_path / "data" / "Hospital E" / "cat" / "more.heic").write_bytes(b"\0\0\0\x18ftypheic")
    return tmp_path / "data"


def test_the_check_says_what_to_look_at(fgl: Callable[..., CliResult], domains: Path) -> None:
    said = fgl("datasets", "check", "--dataset", str(domains))
    assert said.code == 0, said.err
    assert "warning: passed over 1 file (Hospital E/cat/more.heic): HEIC is not read" in said.out
    assert (
        "warning: this data has 2 domains (Hospital E, Hospital W): --partition domain makes each a client" in said.out
    )
    assert "look at the" in said.out.splitlines()[-1]
    chosen = fgl("datasets", "check", "--dataset", str(domains), "--set", "partition.name=domain")
    assert "--partition domain" not in chosen.out


def test_a_run_names_what_was_passed_over_and_its_clients_after_their_domains(
    fgl: Callable[..., CliResult], domains: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = fgl("run", "--dataset", str(domains), "--partition", "domain", *SMALL, "--out", "run")
    assert said.code == 0, said.err
    assert "passed over 1 file (Hospital E/cat/more.heic)" in caplog.text
    assert "makes each a client" not in said.err
    report = (tmp_path / "run" / "report.md").read_text()
    data = report.partition("## Data")[2]
    assert "passed over 1 file" in data
    assert "HEIC is not read" in data
    assert "| hospital-e |" in report
    assert {path.name for path in (tmp_path / "run" / "clients").iterdir()} == {"hospital-e", "hospital-w"}


def test_a_run_suggests_the_domains_that_nobody_chose(fgl: Callable[..., CliResult], domains: Path) -> None:
    said = fgl("run", "--dataset", str(domains), "--out", "run", "--dry-run")
    assert SUGGESTED in said.err


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ('class,prompt\ncat,"a cat\nsitting"\ndog,a dog\n', "line 3, prompt holds a control character, a line break"),
        (f"class,prompt\ncat,{'very ' * 1000}\ndog,a dog\n", "line 2, prompt has 4999 characters; the cap is 2000"),
    ],
)
def test_a_dry_run_holds_a_prompts_file_to_the_rules_of_its_codec(
    fgl: Callable[..., CliResult], tmp_path: Path, prompts: str, said: str
) -> None:
    for place, name in enumerate(("cat", "dog")):
        put(tmp_path / "data" / name, 100 * place)
    (tmp_path / "p.csv").write_text(prompts)
    run = (
        "run",
        "--dataset",
        "data",
        "--clients",
        "2",
        "--partition",
        "iid",
        "--prompt-strategy",
        "prompts-file",
        "--set",
        "prompt_strategy.path=p.csv",
        "--dry-run",
        "--set",
    )
    answer = fgl(*run, "upload.codec=text")
    assert answer.code == 4
    assert said in answer.err
    assert fgl(*run, "upload.codec=fp16").code == 0


def test_classes_alike_end_a_run_before_it_begins(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    for place, name in enumerate(("Cat", "cat")):
        put(tmp_path / "data" / name, 100 * place)
    for more in ((), ("--dry-run",)):
        said = fgl("run", "--dataset", "data", "--clients", "2", "--partition", "iid", "--out", "run", *more)
        assert said.code == 4
        assert "classes alike: 'Cat' and 'cat'" in said.err


def test_classes_that_are_alike_once_cut_are_refused_by_their_clients(
    fgl: Callable[..., CliResult], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place, name in enumerate(("cat", "dog")):
        put(tmp_path / "data" / name, 100 * place)
    long = "very " * 100
    (tmp_path / "p.csv").write_text(f"class,prompt\ncat,{long}cat\ndog,{long}dog\n")
    said = fgl(
        "run",
        "--dataset",
        "data",
        "--clients",
        "1",
        "--partition",
        "iid",
        "--prompt-strategy",
        "prompts-file",
        "--set",
        "prompt_strategy.path=p.csv",
        "--out",
        "run",
        *SMALL,
    )
    assert said.code == 5
    assert "client-00: classes alike: the prompts of 'cat' and 'dog' become the same numbers" in caplog.text
    assert "ClassListError at the client: its classes, or their prompts, are not what they should be" in said.err


def test_test_images_of_several_domains_alone_are_counted(fgl: Callable[..., CliResult], domains: Path) -> None:
    said = fgl("datasets", "check", "--dataset", str(domains), "--set", "dataset.holds=test")
    assert said.code == 0, said.err
    assert "test:Hospital E" in said.out
    assert "every class is in both splits" not in said.out
