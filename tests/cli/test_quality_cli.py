"""`fgl quality` and `fgl probe`: what a person types and what comes back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgl.commands._options import ConfigFlags
from fgl.commands.probe import command
from fgl.core.report import outlook, tables
from fgl.core.store.typed import from_json
from fgl.core.wire.replies import ImageScores, ProbeScores
from tests.helpers.cli import CliResult


@pytest.fixture
def flags(images: Callable[..., Path], pipeline: Path) -> Callable[..., list[str]]:
    def make(**data: Any) -> list[str]:
        generator = [f"generator.model={pipeline}", "generator.num_inference_steps=1", "generator.dtype=fp32"]
        given = [
            "--dataset",
            str(images(**data)),
            "--generator",
            "stable-diffusion",
            "--partition",
            "iid",
            "--clients",
            "2",
        ]
        return [*given, *(word for one in generator for word in ("--set", one))]

    return make


@pytest.fixture
def run(fgl: Callable[..., CliResult], flags: Callable[..., list[str]]) -> str:
    small = ["--images-per-class", "6", "--set", "classifier.epochs=1", "--set", "baselines=none"]
    assert fgl("run", *flags(), *small, "--out", "run", "--quiet").code == 0
    return "run"


def test_quality_of_a_run_in_a_space_of_choice(fgl: Callable[..., CliResult], run: str, tmp_path: Path) -> None:
    said = fgl("quality", run, "--features", "pixels")
    assert said.code == 0
    for word in (
        "synthetic",
        "held-out real",
        "coverage",
        "KID",
        "FID",
        "distance to nearest real",
        "mean colours",
        "18 of",
    ):
        assert word in said.out
    assert "run/quality/pixels.json" in said.out
    found = json.loads(fgl("quality", run, "--features", "pixels", "--json").out)
    assert found == {"schema_version": 1} | json.loads((tmp_path / "run" / "quality" / "pixels.json").read_text())
    other = json.loads(fgl("quality", run, "--features", "pixels", "--set", "features.size=2", "--json").out)
    assert other["space"]["dimensions"] == 12
    # the run itself is as it was
    stages = json.loads(fgl("stages", run, "--json").out)["stages"]
    assert {one["state"] for one in stages} == {"done"}


WRONG: list[tuple[list[str], int, list[str]]] = [
    (["--features", "dinov3"], 2, ["unknown features 'dinov3'", "did you mean 'dinov2'"]),
    (["--features", "./nowhere"], 6, ["./nowhere", "neither a folder"]),
    (["--features", "nobody/nothing"], 6, ["nobody/nothing"]),
    (["--real", "trian"], 2, ["evaluation.real", "'train'"]),
    (["--features", "pixels", "--real", "public"], 2, ["evaluation.real", "no such split", "expected test"]),
    (["--features", "pixels", "--set", "features.size=0"], 2, ["features.size"]),
    (["--features", "pixels", "--set", "features.sice=4"], 2, ["features.sice", "did you mean 'size'"]),
    (["--features", "pixels", "--set", "classifier.epochs=4"], 2, ["classifier", "fgl run"]),
    (["--features", "pixels", "--set", "evaluation.max_images=1"], 2, ["evaluation.max_images"]),
]


def test_what_is_wrong_is_said(fgl: Callable[..., CliResult], run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for arguments, code, words in WRONG:
        said = fgl("quality", run, *arguments)
        assert (said.code, said.out) == (code, ""), (arguments, said.err)
        for word in words:
            assert word in said.err
        assert "Traceback" not in said.err


def test_quality_of_no_run_is_an_error(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = fgl("quality", "empty")
    assert said.code == 7
    assert "is not a run directory" in said.err


def test_a_probe_prints_a_table_how_to_read_it_and_what_to_do_next(
    fgl: Callable[..., CliResult], flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    given = flags()
    said = fgl("probe", *given, "--features", "pixels", "--per-class", "4", "--set", "evaluation.min_images=3")
    assert said.code == 0, said.err
    for word in ("client-00", "client-01", "coverage", "recognized (33%)", "another real image", "bytes went down"):
        assert word in said.out
    assert "林地" in said.out, "scores by class, where there are enough images"
    # the weights are random: it is mostly "unknown", and may by chance be better
    assert ("does not know this domain" in said.out) != ("go on with: fgl run" in said.out)
    command = shlex.split(next(line for line in said.out.splitlines() if "fgl " in line and given[1] in line))
    words = command[command.index("fgl") :]
    extra = list(outlook.WITHOUT) if words[1] == "compare" else []
    assert sorted(words[2:]) == sorted([*extra, *given, "--set", "evaluation.min_images=3"])
    assert not (tmp_path / "unused").exists()
    assert not (tmp_path / "runs").exists()


def test_the_run_that_a_probe_proposes_repeats_flags_that_are_repeated() -> None:
    flags = ConfigFlags(upload_filter=["clip:30", "aggregate"], federation="local", set_=["a.b=1"])
    given = "--upload-filter clip:30 --upload-filter aggregate --federation local --set a.b=1"
    assert command(flags) == f"fgl run {given}"


def test_a_probe_as_json(fgl: Callable[..., CliResult], flags: Callable[..., list[str]]) -> None:
    said = fgl("probe", *flags(), "--features", "pixels", "--per-class", "2", "--json")
    found = json.loads(said.out)
    assert found["outlook"] == outlook.level_of(from_json(ProbeScores, found["all"]), found["chance"])
    assert (found["go_on"] is None) == (found["outlook"] == "unknown")
    assert set(found["clients"]) == {"client-00", "client-01"}
    assert 0 <= found["all"]["made"]["coverage"] <= 1


def test_a_probe_takes_a_preset_and_options_of_the_run_that_it_proposes(fgl: Callable[..., CliResult]) -> None:
    given = ["--preset", "fashion-mnist", "--smoke", "--prompt-strategy", "attributes", "--images-per-class", "7"]
    said = fgl("probe", *given, "--per-class", "3", "--features", "pixels", "--seed", "1")
    assert said.code == 0, said.err
    assert "smoke run of the preset fashion-mnist" in said.err
    proposed = [line for line in said.out.splitlines() if "fgl run" in line or "fgl compare" in line]
    for line in proposed:
        for words in ("--preset fashion-mnist", "--smoke", "--prompt-strategy attributes", "--images-per-class 7"):
            assert words in line


def test_a_space_that_learns_is_trained_on_a_bounded_number_of_images(
    fgl: Callable[..., CliResult], flags: Callable[..., list[str]]
) -> None:
    words = ["--per-class", "2", "--learn-images", "9", "--set", "features.epochs=1", "--json"]
    said = fgl("probe", *flags(), *words, "--pool-clients")
    assert said.code == 0, said.err
    assert json.loads(said.out)["space"]["learnt_on"].startswith("9 real images: some of what the clients hold")


def test_without_public_images_a_space_learns_on_other_pictures_and_pools_no_clients(
    fgl: Callable[..., CliResult], flags: Callable[..., list[str]]
) -> None:
    words = ["--per-class", "2", "--set", "features.epochs=1", "--json", "--fail-if", "weak"]
    said = fgl("probe", *flags(), *words)
    found = json.loads(said.out)
    assert found["space"]["learnt_on"] == "6 other pictures of the generator, and no real image"
    assert found["pictures"]["images"] == 6
    assert found["recognized"]["low"] <= found["recognized"]["share"] <= found["recognized"]["high"]
    assert said.code == (0 if found["outlook"] == "known" else 8)


def _scores(recognized: float | None, coverage: float = 0.9) -> ProbeScores:
    made, real = (ImageScores(density=None, coverage=value, agreement=None, nearest=None) for value in (coverage, 1.0))
    return ProbeScores(reference=900, compared=900, made=made, real=real, recognized=recognized, per_class={})


def test_pictures_that_are_near_no_image_are_not_called_known_because_one_class_is_most_of_the_data() -> None:
    scores = _scores(0.71, coverage=0.05)
    assert outlook.level_of(scores, 0.33) == "weak"
    assert "Hardly an image has a picture near it" in outlook.advice(scores, 0.33, "fgl run", "fgl compare")[0]


@pytest.mark.parametrize(
    ("recognized", "chance", "expected"),
    [
        (0.16, 0.33, "unknown"),
        (0.07, 0.17, "unknown"),
        (0.1, 0.1, "unknown"),
        (None, 0.1, "unknown"),
        (0.11, 0.1, "unknown"),
        (0.15, 0.1, "weak"),
        (0.55, 0.5, "weak"),
        (0.73, 0.1, "known"),
        (0.7, 0.5, "known"),
    ],
)
def test_only_a_probe_that_does_better_than_guessing_ends_in_go_on(
    recognized: float | None, chance: float, expected: str
) -> None:
    scores = _scores(recognized)
    assert outlook.level_of(scores, chance) == expected
    lines = outlook.advice(scores, chance, "fgl run", "fgl compare")
    ends = lines[-1].endswith("go on with: fgl run")
    assert ends == (expected != "unknown")
    assert any("another generator" in line for line in lines) == (expected != "known")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--per-class", "0"], "--per-class"),
        (["--features", "dinov3"], "did you mean 'dinov2'"),
        (["--generator", "tinny"], "did you mean 'tiny'"),
        (["--rounds", "3"], "No such option"),
        (["--smoke"], "--preset NAME"),
    ],
)
def test_a_wrong_flag_of_a_probe_is_said(fgl: Callable[..., CliResult], arguments: list[str], word: str) -> None:
    said = fgl("probe", *arguments)
    assert said.code == 2
    assert word in said.err


def test_what_quality_finds_enters_the_report_and_stays_until_the_set_changes(
    fgl: Callable[..., CliResult], run: str, tmp_path: Path
) -> None:
    assert json.loads((tmp_path / run / "report.json").read_text())["quality_beside"] == {}
    said = fgl("quality", run, "--features", "pixels")
    assert f"{run}/report.md" in said.out
    text = (tmp_path / run / "report.md").read_text(encoding="utf-8")
    assert "## Quality of the synthetic set, measured by fgl quality: pixels" in text
    found = json.loads((tmp_path / run / "report.json").read_text())["quality_beside"]
    assert found["pixels"] == json.loads((tmp_path / run / "quality" / "pixels.json").read_text())
    # another classifier, the same images
    again = [f"{run}/config.yaml", "--out", run, "--quiet", "--set", "classifier.lr=0.002"]
    assert fgl("run", *again, "--images-per-class", "6").code == 0
    assert set(json.loads((tmp_path / run / "report.json").read_text())["quality_beside"]) == {"pixels"}
    assert fgl("run", *again, "--images-per-class", "5").code == 0
    assert json.loads((tmp_path / run / "report.json").read_text())["quality_beside"] == {}


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (690.4, 152.0, "690 ± 150"),
        (0.0784, 0.0281, "0.078 ± 0.028"),
        (12.34, 1.62, "12.3 ± 1.6"),
        (1234.5, 12.3, "1,234 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (-3.21, 44.0, "-3 ± 44"),
    ],
)
def test_a_value_and_its_standard_error_end_at_the_same_place(value: float, error: float, said: str) -> None:
    assert tables.with_error(value, error) == said
