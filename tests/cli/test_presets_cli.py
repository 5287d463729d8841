"""Presets, the check of data and partitions, as a person types them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from fgl.core.config import presets
from tests.helpers.cli import CliResult
from tests.helpers.hub import Hub

EUROSAT = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
SMALL = (
    "--images-per-class",
    "2",
    "--set",
    "generator.batch_size=10",
    "--set",
    "generator.num_inference_steps=2",
    "--set",
    "classifier.epochs=1",
    "--set",
    "baselines=none",
)


def png(number: int, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 7)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def folders(root: Path, names: list[str] | tuple[str, ...], count: int = 12) -> Path:
    for index, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(png(number + 100 * index))
    return root


def wnids(name: str) -> list[str]:
    return [others[0] for others in presets.load(name).classes.values()]


# fgl presets


def test_presets_are_listed_with_where_their_data_is(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("presets", "list")
    assert said.code == 0
    line = next(line for line in said.out.splitlines() if line.startswith("domainnet-10"))
    for word in ("DomainNet", "10", "6", "domain", "no data", "wltjr1007/DomainNet"):
        assert word in line
    rows = {row["name"]: row for row in json.loads(fgl("presets", "list", "--json").out)["presets"]}
    assert list(rows) == presets.names()
    assert (rows["imagefruit"]["clients"], rows["imagefruit"]["partition"]) == (5, "dirichlet 0.01")
    assert not rows["imagefruit"]["data_here"]
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    rows = {row["name"]: row for row in json.loads(fgl("presets", "list", "--json").out)["presets"]}
    assert rows["imagefruit"]["data_here"]
    assert "model" in rows["imagefruit"]["missing"] or rows["imagefruit"]["runs_here"]


def test_a_preset_is_shown_as_its_file_with_the_next_commands(fgl: Callable[..., CliResult]) -> None:
    said = fgl("presets", "show", "quickdraw")
    assert said.code == 2
    said = fgl("presets", "show", "imagefruit")
    assert said.code == 0
    assert yaml.safe_load(said.out)["classes"]["pineapple"] == "n07753275"
    assert "fgl run --preset imagefruit --dataset PATH" in said.out
    assert "fgl run --preset imagefruit --smoke" in said.out
    shown = json.loads(fgl("presets", "show", "imagefruit", "--json").out)
    assert shown["run"]["synthesis"]["images_per_class"] == 400


@pytest.mark.parametrize("command", [["run"], ["config", "show"], ["datasets", "check"], ["partition"]], ids=" ".join)
def test_an_unknown_preset_is_one_clear_line(fgl: Callable[..., CliResult], command: list[str]) -> None:
    said = fgl(*command, "--preset", "imagenete")
    assert said.code == 2
    assert "--preset: got 'imagenete'; unknown preset: did you mean 'imagenette'? (known: bloodmnist," in said.err
    assert "Traceback" not in said.err


def test_config_show_has_the_preset_under_the_file_and_the_flags(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("partition: {beta: 0.5}\nsynthesis: {images_per_class: 7}\n")
    shown = yaml.safe_load(fgl("config", "show", "mine.yaml", "--preset", "imagefruit", "--images-per-class", "9").out)
    assert shown["partition"] == {**shown["partition"], "name": "dirichlet", "clients": 5, "beta": 0.5}
    assert shown["synthesis"]["images_per_class"] == 9
    assert shown["generator"]["name"] == "sd21"
    assert shown["dataset"]["labels"]["n07753275"] == "pineapple"
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(shown, sort_keys=False))
    assert yaml.safe_load(fgl("config", "show", "whole.yaml").out) == shown


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["datasets", "check"], ["partition"]], ids=" ".join)
@pytest.mark.parametrize("name", ["imagefruit", "bloodmnist"])
def test_absent_data_says_where_to_get_it(fgl: Callable[..., CliResult], command: list[str], name: str) -> None:
    said = fgl(*command, "--preset", name)
    assert said.code == 4
    for text in ("is not here", "get it:", "layout:", f"--preset {name} --dataset PATH", f"--preset {name} --smoke"):
        assert text in said.err
    assert said.out == ""


def test_a_folder_that_is_not_there_is_corrected(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    said = fgl("run", "--preset", "imagefruit", "--dataset", "./imagnet")
    assert said.code == 4
    assert f"did you mean '{tmp_path / 'imagenet'}'" in said.err


def test_smoke_without_a_preset_is_refused(fgl: Callable[..., CliResult]) -> None:
    for command in ("run", "partition"):
        said = fgl(command, "--smoke")
        assert said.code == 2
        assert "--smoke: got no preset" in said.err


# Smoke runs


def test_a_smoke_run_on_stand_in_data_says_that_it_proves_nothing(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    said = fgl("run", "--preset", "domainnet-10", "--smoke", "--out", "run", *SMALL)
    assert said.code == 0, said.err
    note = "smoke run of the preset domainnet-10 on stand-in data (bundled:emoji): it shows that everything works"
    assert note in said.err
    assert note in said.out
    assert "proves nothing about DomainNet" in said.out
    prompts = [
        json.loads(line)["text"]
        for file in sorted((tmp_path / "run").glob("clients/*/private/prompts.jsonl"))
        for line in file.read_text().splitlines()
    ]
    assert "animal, noto style, real world images, high resolution" in prompts
    assert len(list((tmp_path / "run" / "clients").iterdir())) == 3


def test_a_smoke_run_on_data_of_the_presets_layout_maps_its_folders(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    root = folders(tmp_path / "mine", [*wnids("imagefruit"), "n09999999"])
    said = fgl(
        "run",
        "--preset",
        "imagefruit",
        "--smoke",
        "--dataset",
        str(root),
        "--out",
        "run",
        "--json",
        *SMALL,
        "--set",
        "partition.min_samples=1",
    )
    assert said.code == 0, said.err
    result = json.loads(said.out)
    assert (result["preset"]["name"], result["preset"]["smoke"], result["preset"]["stand_in"]) == (
        "imagefruit",
        True,
        False,
    )
    assert set(result["result"]["per_class"]) == set(presets.load("imagefruit").classes)
    assert "its figures prove nothing about ImageFruit" in said.err
    assert result["config"]["partition"]["beta"] == 0.01
    assert len(result["upload"]["bytes_per_client"]) == 5


def test_a_smoke_run_takes_a_folder_of_other_classes_as_stand_in_data(
    fgl: Callable[..., CliResult], tmp_path: Path
) -> None:
    root = folders(tmp_path / "mine", ["cat", "dog", "fox"], 30)
    arguments = ("run", "--preset", "imagefruit", "--dataset", str(root), "--dry-run")
    said = fgl(*arguments)
    assert said.code == 4
    assert "no images of 'pineapple' (n07753275)" in said.err
    said = fgl(*arguments, "--smoke", "--json", "--set", "partition.min_samples=1")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert plan["dry_run"]["classes"] == ["cat", "dog", "fox"]
    assert plan["preset"]["stand_in"]
    assert "on stand-in data (imagefolder:" in said.err


@pytest.mark.parametrize("name", presets.names())
def test_every_smoke_run_fits_together(fgl: Callable[..., CliResult], name: str) -> None:
    said = fgl("run", "--preset", name, "--smoke", "--dry-run", "--json")
    assert said.code == 0, said.err
    plan = json.loads(said.out)
    assert len(plan["dry_run"]["clients"]) == (3 if name == "domainnet-10" else 5)
    assert plan["dry_run"]["train_images"] <= 500
    assert plan["preset"]["stand_in"]


def test_another_dataset_under_a_preset_is_said(fgl: Callable[..., CliResult]) -> None:
    said = fgl("run", "--preset", "imagefruit", "--dataset", "bundled:eurosat", "--generator", "tiny", "--dry-run")
    assert said.code == 0, said.err
    assert "preset imagefruit on other data than ImageFruit: bundled:eurosat" in said.out


# fgl datasets check


def archive(path: Path, **changes: np.ndarray) -> Path:
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 11959), ("test", 3421)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (count, 2, 2, 3), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 8)[:, None].astype(np.uint8)
    np.savez(path, **{**arrays, **changes})
    return path


def test_data_that_fits_a_preset_is_counted(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    path = archive(tmp_path / "blood.npz")
    said = fgl("datasets", "check", "--preset", "bloodmnist", "--dataset", str(path))
    assert said.code == 0, said.err
    assert "it fits the preset bloodmnist" in said.out
    for text in ("train 11,959, test 3,421", "PPM RGB 15,380", "2x2 15,380", "of the preset: CC BY 4.0"):
        assert text in said.out
    line = next(line for line in said.out.splitlines() if line.startswith("basophil"))
    assert line.split()[-2:] == ["1,495", "428"]


def test_a_copy_that_is_not_whole_does_not_fit(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    some = {"train_images": np.zeros((80, 2, 2, 3), np.uint8), "train_labels": np.arange(80) % 8}
    said = fgl("datasets", "check", "--preset", "bloodmnist", "--dataset", str(archive(tmp_path / "blood.npz", **some)))
    assert said.code == 4
    assert "train 80, test 3,421 images, expected train 11,959, test 3,421" in said.err
    assert "it fits" not in said.out


def test_a_class_list_that_does_not_match_is_one_error(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    names = ["forest" if name == "Forest" else name for name in EUROSAT]
    names[names.index("SeaLake")] = "Sea_Lake"
    root = folders(tmp_path / "mine", [*names, "Desert"])
    said = fgl("datasets", "check", "--preset", "eurosat", "--dataset", str(root))
    assert said.code == 4
    assert "no images of 'sea or lake' (SeaLake) - did you mean 'Sea_Lake'?; not in the list: 'Desert'" in said.err
    assert said.err.count("did you mean") == 1
    assert "the preset eurosat expects: PATH/AnnualCrop/*.jpg" in said.err


def test_what_is_wrong_beside_the_classes_is_listed(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    root = folders(
        tmp_path / "mine",
        [f"{domain}/{name}" for domain in ("real", "sketches") for name in presets.load("domainnet-10").classes],
    )
    (root / "real" / "axe" / "bad.png").write_bytes(b"no image")
    (root / "real" / "axe" / "grey.png").write_bytes(png(1, (30, 20), "L"))
    said = fgl("datasets", "check", "--preset", "domainnet-10", "--dataset", str(root), "--json")
    assert said.code == 4
    found = json.loads(said.out)
    assert not found["fits"]
    assert found["unreadable"] == [str(root / "real" / "axe" / "bad.png")]
    assert found["kinds"] == {"PNG RGB": 240, "PNG L": 1}
    assert found["sizes"] == {"8x6": 240, "30x20": 1}
    assert (
        found["splits"]["train"]["by_domain"]["real"]["axe"] + found["splits"]["test"]["by_domain"]["real"]["axe"] == 13
    )
    for text in (
        "1 unreadable image: ",
        "domains missing: 'clipart', ",
        "'sketch' - is it 'sketches'?",
        "domains that the preset does not have: 'sketches'",
    ):
        assert text in said.err
    shown = fgl("datasets", "check", "--preset", "domainnet-10", "--dataset", str(root))
    assert "train:sketches" in shown.out
    assert "broken    1" in shown.out


def test_data_without_a_preset_is_counted_too(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    said = fgl("datasets", "check", "--dataset", "bundled:emoji")
    assert said.code == 0
    assert "train 999, test 697, public 1,017" in said.out
    root = folders(tmp_path / "mine", ["a", "b"], 3)
    said = fgl("datasets", "check", "--dataset", str(root), "--set", "dataset.class_names=[a,b,c]")
    assert said.code == 4
    assert "the train split has no images of c" in said.err


def test_bundled_data_is_not_the_presets(fgl: Callable[..., CliResult]) -> None:
    said = fgl("datasets", "check", "--preset", "eurosat", "--dataset", "bundled:eurosat")
    assert said.code == 4
    assert "train 3,500, test 2,000 images, expected train 16,200, test 5,400 or train 21,600" in said.err
    assert "classes" not in said.err
    said = fgl("datasets", "check", "--preset", "imagefruit", "--dataset", "bundled:eurosat")
    assert "classes missing: 'pineapple', " in said.err


def hub_table(rows: int, start: int) -> bytes:
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(EUROSAT)},
        "image_id": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": png(start + number), "path": None} for number in range(rows)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": [number % 10 for number in range(rows)],
            "image_id": [str(number) for number in range(rows)],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def outside(tmp_path: Path, environment: dict[str, str], *arguments: str) -> CliResult:
    """In a process of its own: the Hub's client reads the environment once."""
    source = "import sys; from fgl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    return CliResult(done.returncode, done.stdout, done.stderr)


def test_a_preset_of_the_hub_is_pulled_at_its_commit_and_mapped(tmp_path: Path, hub: Hub) -> None:
    preset = presets.load("eurosat")
    readme = b"---\nlicense: mit\n---\n"
    files = {
        "train-00000-of-00001.parquet": hub_table(40, 0),
        "README.md": readme,
        "validation-00000-of-00001.parquet": hub_table(10, 900),
        "test-00000-of-00001.parquet": hub_table(20, 500),
    }
    commit = hub.push(preset.dataset["path"], files, kind="datasets")
    repository = hub.repositories["datasets", preset.dataset["path"]]
    repository.commits[preset.dataset["revision"]] = repository.commits[commit]
    environment = hub.env(tmp_path / "home", PYTHONPATH=str(Path(presets.__file__).parents[2]))
    said = outside(tmp_path, environment, "datasets", "check", "--preset", "eurosat", "--json")
    found = json.loads(said.out)
    assert found["class_names"] == list(preset.classes), said.err
    assert found["splits"]["test"]["by_class"] == dict.fromkeys(preset.classes, 2)
    assert found["problems"] == [
        "train 40, test 20 images, expected train 16,200, test 5,400 or train 21,600, test 5,400: an incomplete or "
        "another copy, or without its own test split"
    ]
    assert said.code == 4
    assert any(preset.dataset["revision"] in request.path for request in hub.log)
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    listed = outside(tmp_path, offline, "presets", "list", "--json")
    assert {row["name"] for row in json.loads(listed.out)["presets"] if row["data_here"]} == {"eurosat"}
    said = outside(tmp_path, offline, "partition", "--preset", "eurosat", "--smoke", "--set", "partition.min_samples=1")
    assert said.code == 0, said.err
    assert "its figures prove nothing about EuroSAT" in said.out


def test_a_hub_that_cannot_be_reached_is_said_with_the_other_ways(tmp_path: Path, hub: Hub) -> None:
    environment = hub.env(tmp_path / "home", HF_HUB_OFFLINE="1", PYTHONPATH=str(Path(presets.__file__).parents[2]))
    said = outside(tmp_path, environment, "datasets", "check", "--preset", "cifar10")
    assert said.code == 4
    for text in (
        "cannot be loaded from the Hugging Face Hub",
        "get it:    CIFAR-10 from https://",
        "fgl datasets check --preset cifar10 --dataset PATH",
        "fgl run --preset cifar10 --smoke",
    ):
        assert text in said.err
    assert "Traceback" not in said.err


# fgl partition


def test_a_partition_is_a_table_of_clients_and_classes(fgl: Callable[..., CliResult]) -> None:
    said = fgl("partition", "--partition", "iid", "--clients", "4")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "eurosat, iid, 4 clients, seed 0"
    assert lines[2].split() == ["class", "client-00", "client-01", "client-02", "client-03", "all"]
    assert lines[-1].split() == ["all", "875", "875", "875", "875", "3,500"]
    river = next(line for line in lines if line.startswith("river"))
    assert sum(int(cell) for cell in river.split()[1:-1]) == 350


def test_json_has_the_same_counts_as_a_run(fgl: Callable[..., CliResult]) -> None:
    found = json.loads(fgl("partition", "--beta", "0.1", "--seed", "3", "--json").out)
    plan = json.loads(fgl("run", "--beta", "0.1", "--seed", "3", "--dry-run", "--json").out)
    assert {client: sum(row) for client, row in found["samples"].items()} == plan["dry_run"]["clients"]
    assert found["class_names"] == plan["dry_run"]["classes"]
    assert (found["partition"]["name"], found["seed"], found["plot"]) == ("dirichlet", 3, None)


def test_clients_of_domains_are_shown_with_them(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    said = fgl("partition", "--dataset", "bundled:emoji", "--partition", "domain", "--plot", "a.svg")
    assert said.code == 0, said.err
    noto = next(line for line in said.out.splitlines() if line.startswith("noto"))
    assert noto.split()[1:] == ["·", "338", "·", "338"]
    drawn = (tmp_path / "a.svg").read_text()
    assert ">noto</text>" in drawn
    assert "smiley face" in drawn
    assert "drawn: a.svg" in said.out


def test_many_clients_are_wrapped(fgl: Callable[..., CliResult]) -> None:
    said = fgl("partition", "--partition", "iid", "--clients", "50")
    assert said.code == 0
    lines = said.out.splitlines()
    assert max(len(line) for line in lines) <= 150
    assert {word for line in lines if line.startswith("class") for word in line.split()[1:]} == {
        *(f"client-{number:02}" for number in range(50)),
        "all",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--plot", "a.pdf"], 2, "expected a file that ends in .png or .svg"),
        (["--plot", "none/a.png"], 2, "there is no folder"),
        (["--plot", "folder.png"], 2, "it is a folder"),
        (["--plot", "/proc/a.png"], 7, "cannot write /proc/a.png"),
        (["--partition", "domain"], 4, "this dataset has no domains"),
        (["--clients", "20", "--set", "partition.max_tries=5"], 4, "raise beta, lower clients"),
        (["--dataset", "./nowhere"], 4, "does not exist"),
    ],
)
def test_each_wrong_word_to_partition_is_one_clear_line(
    fgl: Callable[..., CliResult], tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    said = fgl("partition", *arguments)
    assert said.code == code, said.err
    assert word in said.err
    assert "Traceback" not in said.err


def test_without_matplotlib_the_table_is_there_and_the_drawing_says_what_to_install(
    fgl: Callable[..., CliResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as it is where it is not installed
    assert fgl("partition", "--partition", "iid").code == 0
    said = fgl("partition", "--plot", "a.png")
    assert said.code == 3
    assert "--plot needs matplotlib, not installed: pip install matplotlib (fgl's extra plots)" in said.err


def test_letters_without_a_font_are_said(fgl: Callable[..., CliResult], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    root = folders(tmp_path / "mine", ["\U0001325a\U0001325b", "river"], 20)  # hieroglyphs, which hardly any font has
    arguments = ("partition", "--dataset", str(root), "--partition", "iid", "--clients", "2", "--plot")
    said = fgl(*arguments, "a.png")
    assert said.code == 0
    assert "no installed font has all letters of these names" in said.err
    assert "Warning" not in said.err
    said = fgl(*arguments, "a.svg")
    assert "no installed font" not in said.err
    assert "\U0001325a" in (tmp_path / "a.svg").read_text(encoding="utf-8")
