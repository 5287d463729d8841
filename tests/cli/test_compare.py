"""`fgl compare` and `fgl sweep` as a person uses them, on a small pipeline of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgl.core.config.saved import saved_config
from fgl.core.plugin_manager import PluginManager
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError
from tests.helpers.cli import CliResult, run_cli


@pytest.fixture
def fgl(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    images: Callable[..., Path],
    pipeline: Path,
) -> Callable[..., CliResult]:
    monkeypatch.chdir(tmp_path)
    small = [
        "--dataset", str(images(per_class=12)), "--partition", "iid", "--clients", "2",
        "--generator", "stable-diffusion", "--set", f"generator.model={pipeline}",
        "--set", "generator.num_inference_steps=1", "--set", "generator.guidance_scale=1.0", "--images-per-class", "3",
        "--set", "classifier.epochs=1", "--set", "classifier.image_size=16", "--set", "rounds.local_epochs=1",
    ]  # fmt: skip

    return run_cli(monkeypatch, capsys, tuple(small))


def methods(said: CliResult) -> dict[str, Any]:
    return {row["method"]: row for row in json.loads(said.out)["methods"]}


def test_methods_are_compared_and_a_second_comparison_reuses_them(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    first = fgl("compare", "--methods", "fgl,fedavg,class-list", "--seeds", "2", "--rounds", "1", "--json")
    assert first.code == 0, first.err
    rows = methods(first)
    assert list(rows) == ["fgl", "fedavg", "class-list"]
    assert rows["fgl"]["seeds"] == 2
    assert rows["class-list"]["difference"]["mean"] == 0  # the same images, by construction
    out = tmp_path / "runs" / "compare"
    for name in ("accuracy-rounds", "accuracy-bytes"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (out / f"{name}.svg").read_text()
    assert "fedavg, 1 round" in (out / "compare.md").read_text()
    assert "Mean ± standard deviation over 2 seeds." in (out / "compare.md").read_text()
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("shard-*.parquet")}
    second = fgl(
        "compare",
        "--methods",
        "fgl,fedavg,fedprox,local,centralized,fgl-1round-tuned",
        "--seeds",
        "2",
        "--rounds",
        "2",
        "--json",
    )
    assert second.code == 0, second.err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("shard-*.parquet")} == shards
    again = methods(second)
    assert again["fgl"] == rows["fgl"]
    each, before = json.loads(second.out)["each"], json.loads(first.out)["each"]
    for seed in ("0", "1"):
        curve = each[seed]["fedavg"]["curve"]
        assert [point[0] for point in curve] == [1, 2]
        assert curve[0] == before[seed]["fedavg"]["curve"][0]  # gone on from, not done again
        assert each[seed]["fedavg"]["bytes"] == 2 * before[seed]["fedavg"]["bytes"]
        # the tuned one begins with the one-shot model
        assert each[seed]["fgl-1round-tuned"]["curve"][0][1] == each[seed]["fgl"]["top1"]
    assert each["0"]["fedavg"]["curve"] != each["1"]["fedavg"]["curve"]


def test_tables_say_what_a_guess_would_score(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("compare", "--methods", "fgl", "--seeds", "1")
    assert said.code == 0, said.err
    line = "To hold top-1 against: guessing among all classes gives"
    assert line in " ".join(said.out.split())
    assert "over 1 seed" in said.out
    assert "over 1 seeds" not in said.out
    with pytest.raises(StoreError, match="not a run directory, but these in it are: seed-0"):
        saved_config(RunDir(tmp_path / "runs" / "compare"), PluginManager.load())
    assert line in (tmp_path / "runs" / "compare" / "compare.md").read_text()
    swept = fgl("sweep", "--over", "synthesis.images_per_class=2,4", "--methods", "fgl", "--seeds", "1")
    assert " ".join(swept.out.split()).count(line) == 1, "the test images are the same at every setting"
    assert (tmp_path / "runs" / "sweep" / "sweep.md").read_text().count(line) == 1


def test_the_cost_is_said_before_anything_runs_and_columns_say_what_they_are(fgl: Callable[..., CliResult]) -> None:
    said = fgl("compare", "--methods", "fgl,fedavg", "--seeds", "1", "--rounds", "1")
    assert said.code == 0, said.err
    before = said.err.split("seed 0: ")[0]
    assert "1 seed × 2 methods; " in before
    assert "in all: 9 synthetic images, 3 trainings, " in before
    assert "time: not known before a first model" in before
    assert "seed 0: fedavg, 1 round, about " in said.err, "the first model has set the pace"
    words = " ".join(said.out.split())
    assert "One seed says nothing of the spread" in words
    table = Path("runs/compare/compare.md").read_text(encoding="utf-8")
    assert "| fgl minus this, points (95 % interval) |" in table
    quiet = fgl("compare", "--methods", "fgl", "--seeds", "1", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_fewer_rounds_do_not_throw_away_more(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    more = ("compare", "--methods", "fgl,fedavg", "--seeds", "1")
    assert fgl(*more, "--rounds", "2").code == 0
    model = tmp_path / "runs" / "compare" / "seed-0" / "rounds" / "fedavg" / "model.safetensors"
    before = model.read_bytes()
    said = fgl(*more, "--rounds", "1")
    assert said.code == 2
    assert "rounds of fedavg" in said.err
    assert "expected 2 or more, or another --out" in " ".join(said.err.split())
    assert model.read_bytes() == before
    assert fgl(*more, "--rounds", "2").code == 0


def test_a_comparison_does_not_lie_in_a_run(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    RunDir(tmp_path / "run").write(tmp_path / "run" / "partition.json", b"{}")
    for command in (("compare",), ("sweep", "--over", "synthesis.images_per_class=2,4")):
        said = fgl(*command, "--out", "run")
        assert (said.code, "it holds a run (fgl run)" in " ".join(said.err.split())) == (2, True)


def test_a_sweep_over_what_does_not_matter_says_so(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("sweep", "--over", "rounds.evaluate_every=1,2", "--seeds", "1", "--methods", "fgl")
    assert said.code == 0, said.err
    line = "the same to the last digit at every setting"
    assert line in " ".join(said.out.split())
    assert line in (tmp_path / "runs" / "sweep" / "sweep.md").read_text()


def test_a_sweep_runs_every_setting(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("sweep", "--over", "synthesis.images_per_class=2,4", "--seeds", "1")
    assert said.code == 0, said.err
    assert "images_per_class 2" in said.out
    assert "images_per_class 4" in said.out
    summary = json.loads((tmp_path / "runs" / "sweep" / "sweep.json").read_text())
    assert [one["values"] for one in summary["settings"]] == [
        {"synthesis.images_per_class": "2"},
        {"synthesis.images_per_class": "4"},
    ]
    assert (tmp_path / "runs" / "sweep" / "sweep.svg").exists()
    assert "±" not in (tmp_path / "runs" / "sweep" / "sweep.md").read_text().splitlines()[4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "--methods", "fgl,fedavgg"), "did you mean 'fedavg'"),
        (("compare", "--methods", ""), "known: fgl"),
        (("compare", "--set", "baseline_options.fedprox.mu=-1"), "baseline_options.fedprox.mu"),
        (("sweep", "--over", "synthesis.images_per_class=2,none"), "synthesis.images_per_class"),
        (("sweep", "--over", "synthesis.imags=2,3"), "images_per_class"),
        (("sweep",), "either --ablation"),
        (("sweep", "--ablation", "promts"), "did you mean 'prompts'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    fgl: Callable[..., CliResult], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    found = fgl(*arguments)
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "runs").exists()


def test_a_sweep_over_what_a_flag_decides_is_refused(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("sweep", "--ablation", "clients", "--clients", "7", "--out", str(tmp_path / "runs"))
    assert said.code == 2
    assert "both come to the same" in said.err
    assert not (tmp_path / "runs").exists()


def test_the_ablations_are_listed(fgl: Callable[..., CliResult]) -> None:
    said = fgl("sweep", "--ablation", "list")
    assert said.code == 0
    assert "guidance scale" in said.out


def test_a_method_of_its_own_components_is_a_row_beside_the_others(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    words = ("compare", "--methods", "fgl,fgl-rounds", "--seeds", "1", "--set", "baseline_options.fgl-rounds.rounds=1")
    words = (*words, "--set", "baseline_options.fgl-rounds.server_epochs=1", "--out", "two", "--json")
    first = fgl(*words)
    assert first.code == 0, first.err
    rows = methods(first)
    assert rows["fgl-rounds"]["title"] == "fgl-rounds, 1 round after it"
    assert rows["fgl-rounds"]["bytes"] > rows["fgl"]["bytes"]
    assert len(json.loads(first.out)["each"]["0"]["fgl-rounds"]["curve"]) == 2
    run = RunDir(tmp_path / "two" / "seed-0" / "methods" / "fgl-rounds")
    config = saved_config(run, PluginManager.load())
    assert (config.method.name, config.rounds.count, config.synthesis.images_per_class) == ("fgl-rounds", 1, 3)
    stages = {path.name: path.stat().st_mtime_ns for path in (run.root / "stages").iterdir()}
    assert methods(fgl(*words))["fgl-rounds"]["top1"] == rows["fgl-rounds"]["top1"]
    assert {path.name: path.stat().st_mtime_ns for path in (run.root / "stages").iterdir()} == stages


def test_a_method_whose_options_are_wrong_is_named_before_anything_runs(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    ended = fgl(
        "compare", "--methods", "fgl,fgl-rounds", "--set", "baseline_options.fgl-rounds.rounds=0", "--out", "two"
    )
    assert ended.code == 2
    assert "baseline_options.fgl-rounds.rounds: got 0" in ended.err
    assert not (tmp_path / "two").exists()


def test_a_sweep_varies_a_method(fgl: Callable[..., CliResult]) -> None:
    words = ("--over", "method=fgl,fgl-rounds", "--seeds", "1", "--set", "rounds.server_epochs=0", "--out", "both")
    ended = fgl("sweep", *words, "--set", "rounds.count=1", "--json")
    assert ended.code == 0, ended.err
    assert [row["setting"] for row in json.loads(ended.out)["settings"]] == ["method fgl", "method fgl-rounds"]
