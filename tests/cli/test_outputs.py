"""Where results may go: nobody's files are overwritten or removed, and a run finds its data from everywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fgl as package
from fgl.core.store.ledger import NAME as LEDGER
from fgl.core.store.run_dir import RunDir
from fgl.errors import ConfigError
from tests.helpers.cli import CliResult

Fgl = Callable[..., CliResult]


@pytest.fixture
def small(images: Callable[..., Path], pipeline: Path) -> list[str]:
    return [
        "--dataset", str(images(6)), "--partition", "iid", "--clients", "2", "--generator", "stable-diffusion",
        "--set", f"generator.model={pipeline}", "--set", "generator.num_inference_steps=1",
        "--set", "generator.guidance_scale=1.0", "--images-per-class", "2", "--set", "classifier.epochs=1",
        "--set", "classifier.image_size=16", "--baselines", "none", "--quiet",
    ]  # fmt: skip


def flat(said: CliResult) -> str:
    return " ".join(said.err.split())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--replace",)])
def test_a_folder_of_the_users_is_refused_and_stays_as_it_is(fgl: Fgl, tmp_path: Path, more: tuple[str, ...]) -> None:
    mine = tmp_path / "proj"
    names = (
        "classifier/model.py",
        "sheets/diagram.png",
        "clients/alice/contract.txt",
        "checkpoints/train/epoch1.pt",
        "docs/.notes.part",
        "report.md",
        "config.yaml",
        "server/shards/shard-00007.parquet",
    )
    for name in names:
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("mine")
    before = content(mine)
    for command in (
        ("run",),
        ("run", "--out", "proj/../proj"),
        ("compare", "--methods", "fgl"),
        ("sweep", "--over", "seed=1,2"),
    ):
        if command[0] != "run" and "--dry-run" in more:
            continue
        said = fgl(*command, *(() if "--out" in command else ("--out", "proj")), *more)
        assert said.code == 2, said.err
        assert (
            "it holds checkpoints, classifier, clients, config.yaml, docs and 3 more, which fgl did not write"
            in flat(said)
        )
    said = fgl("server", "ingest", "proj/docs", "proj/report.md", "--config", "proj/config.yaml")
    assert (said.code, "which fgl did not write" in flat(said)) == (2, True)
    with pytest.raises(ConfigError, match="out: got"):
        package.run(out=mine)
    assert content(mine) == before


def test_a_run_leaves_the_users_files_in_it_alone_whatever_becomes_of_it(
    fgl: Fgl, tmp_path: Path, small: list[str]
) -> None:
    assert fgl("run", *small, "--out", "r").code == 0
    run = tmp_path / "r"
    mine = (
        "notes.txt",
        "sheets/mine.png",
        "classifier/model.py",
        "server/shards/shard-00099.parquet",
        "clients/client-00/private/mine.txt",
        "clients/alice/contract.txt",
        "baselines/prompts-mine/x",
        "checkpoints/train/mine.pt",
        "docs/.notes.part",
        "stages/audit-mine.json",
    )
    for name in mine:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("mine")
    assert fgl("run", "--resume", "r", "--quiet").code == 0
    assert fgl("run", *small, "--images-per-class", "1", "--clients", "1", "--out", "r").code == 0
    assert not (run / "clients" / "client-01").exists()
    assert not (run / "server" / "uploads" / "client-01.safetensors").exists()
    said = fgl("server", "forget", "r", "--client", "client-00", "--quiet")
    assert said.code == 5, said.err
    assert {name: (run / name).read_text() for name in mine} == dict.fromkeys(mine, "mine")
    left = [path.name for path in (run / "clients" / "client-00").rglob("*") if path.is_file()]
    assert left == ["mine.txt"]
    assert sorted(path.name for path in (run / "server").rglob("*") if path.is_file()) == [
        "forgotten.json",
        "shard-00099.parquet",
    ]


def test_a_configuration_of_a_run_that_was_copied_to_files_of_the_users_makes_no_run_of_them(
    fgl: Fgl, tmp_path: Path, small: list[str]
) -> None:
    assert fgl("run", *small, "--out", "r").code == 0
    mine = tmp_path / "proj"
    (mine / "stages").mkdir(parents=True)
    for name in ("report.md", "stages/train.json"):
        (mine / name).write_text("mine")
    (mine / "config.yaml").write_bytes((tmp_path / "r" / "config.yaml").read_bytes())
    before = content(mine)
    for command in (("run", "proj/config.yaml", "--out", "proj"), ("run", "--resume", "proj"), ("audit", "proj")):
        said = fgl(*command)
        assert said.code in (2, 7), said.err
        assert ("which fgl did not write" in flat(said)) or ("proj is not a run directory" in flat(said))
    assert content(mine) == before
    (tmp_path / "r" / LEDGER).unlink()  # as `cp -r r/* elsewhere` leaves it
    assert fgl("run", "--resume", "r", "--quiet").code == 0


def test_a_run_of_other_data_makes_way_only_where_that_is_said(fgl: Fgl, tmp_path: Path, small: list[str]) -> None:
    assert fgl("run", *small, "--out", "r").code == 0
    other = ["--dataset", "bundled:fashion_mnist", *small[2:]]
    before = content(tmp_path / "r")
    for more in ((), ("--dry-run",)):
        said = fgl("run", *other, "--out", "r", *more)
        assert said.code == 2
        assert "it holds a run of imagefolder" in flat(said)
        assert "this one is of bundled fashion_mnist; expected another folder, or --replace" in flat(said)
    assert content(tmp_path / "r") == before
    assert fgl("run", *other, "--out", "r", "--dry-run", "--replace").code == 0
    assert content(tmp_path / "r") == before
    # the same data from elsewhere, or the same place with other options, is the same
    moved = tmp_path / "moved"
    Path(small[1]).rename(moved)
    assert fgl("run", "--dataset", "moved", *small[2:], "--out", "r", "--dry-run").code == 0
    moved.rename(small[1])
    assert fgl("run", *small, "--set", "dataset.seed=3", "--out", "r", "--dry-run").code == 0
    (tmp_path / "r" / "mine.txt").write_text("mine")
    assert fgl("run", *other, "--out", "r", "--set", "dataset.max_per_class=2", "--replace").code == 0
    assert (tmp_path / "r" / "mine.txt").read_text() == "mine"
    assert "fashion_mnist" in (tmp_path / "r" / "config.yaml").read_text()


def test_results_do_not_go_among_the_data_nor_data_among_results(fgl: Fgl, tmp_path: Path, small: list[str]) -> None:
    data = Path(small[1])
    said = fgl("run", *small, "--out", str(data / "run"))
    assert (said.code, "expected a folder outside of the dataset's" in flat(said)) == (2, True)
    assert not (data / "run").exists()
    run = RunDir(tmp_path / "r")
    run.write(run.path("partition.json"), b"{}")
    data.rename(tmp_path / "r" / "data")
    said = fgl("run", "--dataset", "r/data", *small[2:], "--out", "r", "--dry-run")
    assert (said.code, "expected a folder that does not hold the dataset" in flat(said)) == (2, True)


def test_a_run_begun_with_relative_paths_finds_its_data_from_everywhere(
    fgl: Fgl, tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, home = Path(small[1]), tmp_path / "home"
    (home / "elsewhere" / "pets").mkdir(parents=True)
    data.rename(home / "pets")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    assert fgl("run", "--dataset", "pets", *small[2:], "--out=~/r").code == 0
    assert not (home / "~").exists()
    assert f"path: {home}/pets" in (home / "r" / "config.yaml").read_text()
    digest = fgl("digest", str(home / "r")).out
    monkeypatch.chdir(home / "elsewhere")
    stages = json.loads(fgl("stages", "../r", "--json").out)
    rows = stages["stages"] if isinstance(stages, dict) else stages
    assert {row["state"] for row in rows} == {"done"}
    assert fgl("run", "--resume", "../r", "--quiet").code == 0
    assert fgl("digest", "../r").out == digest
    shared = fgl("config", "show", "--dataset", "imagefolder:pets").out
    assert "path: pets\n" in shared, "a configuration that is to be shared keeps its paths as they are written"


def test_an_upload_that_is_a_pipe_holds_nobody_up(fgl: Fgl, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = fgl("run", "pipe", "--dry-run")
    assert (said.code, "not a regular file" in flat(said)) == (2, True)
    for option in ("prompt_strategy.name=prompts-file", "partition.name=listed"):
        said = fgl("run", "--dry-run", "--set", option, "--set", f"{option.partition('.')[0]}.path=pipe")
        assert said.code != 0
        assert "not a regular file" in flat(said)
    arguments = ["server", "ingest", "r", "pipe", "--set", "dataset.max_per_class=2", "--set", "partition.name=iid"]
    said = fgl(*arguments, "--json")
    assert said.code == 5, said.err
    assert json.loads(said.out)["files"]["pipe"]["reason"].endswith("not a regular file")
    (tmp_path / "link").symlink_to("nowhere")
    said = fgl("server", "ingest", "r", "link", "pipe")
    assert (said.code, "link: unreadable" in said.out, "pipe: unreadable" in said.out) == (5, True, True), said.err


def test_two_that_begin_a_run_at_once_do_not_replace_each_others_configuration(
    fgl: Fgl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second reads its dataset while the first begins the run, and takes the lock after it."""
    from fgl.core import preflight

    (tmp_path / "junk").write_text("junk")
    options = ["--set", "dataset.max_per_class=2", "--set", "partition.name=iid"]
    opened = preflight.open_session

    def late(*arguments: object, **more: object) -> object:
        session = opened(*arguments, **more)  # type: ignore[arg-type]
        monkeypatch.setattr(preflight, "open_session", opened)
        again = fgl("server", "ingest", "r", "junk", *options, "--set", "synthesis.images_per_class=8")
        assert again.code == 5, again.err
        return session

    monkeypatch.setattr(preflight, "open_session", late)
    said = fgl("server", "ingest", "r", "junk", *options, "--set", "synthesis.images_per_class=9")
    assert said.code == 2, said.err
    assert "keeps the configuration it was started with" in flat(said)
    assert "images_per_class: 8" in (tmp_path / "r" / "config.yaml").read_text()


def test_a_link_in_a_run_directory_from_elsewhere_is_named_and_not_followed(fgl: Fgl, tmp_path: Path) -> None:
    victim = tmp_path / "bashrc"
    victim.write_text("mine")
    for name in (".lock", "metrics.jsonl", "classifier"):
        run = RunDir(tmp_path / f"run-{name}")
        run.write(run.path("partition.json"), b"{}")
        run.path(name).symlink_to(victim)
        said = fgl("run", "--out", str(run.root), "--quiet", "--set", "dataset.max_per_class=2")
        assert said.code == 7, said.err
        assert f"{name} is a symbolic link" in flat(said)
    assert victim.read_text() == "mine"


def test_a_sweep_does_not_replace_the_results_of_another(fgl: Fgl, tmp_path: Path) -> None:
    from fgl.core.config.resolve import resolve
    from fgl.core.experiments import folder as folder_experiment
    from fgl.core.plugin_manager import PluginManager

    store = RunDir(tmp_path / "runs" / "sweep", "sweep")
    config = resolve([], PluginManager.load().registry)
    with folder_experiment.opened(store, {"beta 1": config, "beta 2": config}, ["fgl"], [0], False):
        store.write(store.path("sweep.md"), b"the first")
    assert fgl("sweep", "--over", "classifier.epochs=1,2", "--quiet").code == 2
    other = config.model_copy(update={"synthesis": config.synthesis.model_copy(update={"images_per_class": 7})})
    for settings, word in (
        ({"beta 1": config}, "beta 2: not among these settings"),
        ({"beta 1": config, "beta 2": other}, "beta 2: synthesis.images_per_class: 160 → 7"),
    ):
        with pytest.raises(ConfigError, match=word):
            folder_experiment.check(store, settings, ["fgl"], [0], False)
        assert folder_experiment.check(store, settings, ["fgl"], [0], True) == ""
    more = {"beta 1": config, "beta 2": config, "beta 3": config}
    assert folder_experiment.check(store, more, ["fgl", "fedavg"], [0, 1], False) == ""
    assert "methods fgl; seeds 0; their runs stay" in folder_experiment.check(store, more, ["fedavg"], [1], False)
    assert store.path("sweep.md").read_bytes() == b"the first"
    said = fgl("run", "--out", "runs/sweep", "--dry-run")
    assert "it holds a sweep (fgl sweep); expected another folder, or --replace" in flat(said)
    run = RunDir(tmp_path / "runs" / "sweep")
    store.path("mine").write_text("mine")
    with run.lock():
        from fgl.core import outputs
        from fgl.core.store import folder_kind

        outputs.clear(run)
    assert sorted(path.name for path in run.root.iterdir()) == [LEDGER, ".lock", "mine"]
    assert folder_kind.kind_of(run.root) == "run"


def test_a_drawing_replaces_only_what_fgl_has_drawn(fgl: Fgl, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.png", "a.svg"):
        (tmp_path / name).write_text("mine")
        said = fgl("partition", "--quiet", "--plot", name)
        assert (said.code, "fgl did not draw" in flat(said)) == (2, True)
        assert (tmp_path / name).read_text() == "mine"
        assert fgl("partition", "--quiet", "--plot", name, "--replace").code == 0
        assert fgl("partition", "--quiet", "--plot", name).code == 0


def test_a_second_process_may_wait(fgl: Fgl) -> None:
    for command in (("server", "ingest"), ("server", "run"), ("server", "forget")):
        assert "--wait" in fgl(*command, "--help").out
