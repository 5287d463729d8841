"""A probe of clients on machines of their own: one file goes out, files of scores come back, each side is strict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fgl.io import keys
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]
SERVER = ("server", "probe", "--config", "shared.yaml", "--config", "server.yaml")


def write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(settings))


@pytest.fixture
def sites(fgl: Typed, tmp_path: Path, pipeline: Path) -> Typed:
    """`fgl` in a folder with shared.yaml, a server's file, and two sites' files and images."""
    draw = np.random.default_rng(0)
    for place in ("north", "south", "bench"):
        for index, name in enumerate(CLASSES):
            folder = tmp_path / f"{place}-images" / name
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = draw.integers(0, 90, (16, 16, 3)) + 120 * index
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        site = {"site": {"tasks": ["upload", "probe"], "paths": [str(pipeline)]}} if place != "bench" else {}
        write(tmp_path / f"{place}.yaml", {"dataset": {"name": "imagefolder", "path": f"{place}-images"}, **site})
    (tmp_path / "bench.yaml").rename(tmp_path / "server.yaml")
    generator = {"name": "stable-diffusion", "model": str(pipeline), "num_inference_steps": 1, "guidance_scale": 1.0}
    shared = {
        "upload": {"clients": ["north", "south"], "run_id": "skin-1"},
        "dataset": {"class_names": CLASSES},
        "generator": generator,
        "features": {"name": "pixels"},
        "evaluation": {"min_images": 3},
    }
    write(tmp_path / "shared.yaml", shared)
    return fgl


def probe(name: str, *more: str) -> tuple[str, ...]:
    return ("client", "probe", "shared.yaml", f"{name}.yaml", "--client", name, *more)


def test_sites_answer_one_file_and_the_server_says_what_follows(sites: Typed, tmp_path: Path) -> None:
    said = sites(*SERVER, "--per-class", "4")
    assert said.code == 0, said.err
    assert "the same file for every client" in said.out
    for name in ("north", "south"):
        said = sites(*probe(name))
        assert said.code == 0, said.err
        answer = json.loads((tmp_path / f"{name}.probe.json").read_text())
        assert json.dumps(answer["recognized"]) in said.out, "a person sees all that is sent"
        assert answer["reference"] == 8
    said = sites(*SERVER, "north.probe.json", "south.probe.json")
    assert said.code == 0, said.err
    assert "north" in said.out
    assert "class-name prompts" in said.out
    found = json.loads(sites(*SERVER, "north.probe.json", "south.probe.json", "--json").out)
    assert set(found["clients"]) == {"north", "south"}
    assert found["all"]["reference"] == found["recognized"]["total"] == 16
    assert found["outlook"] in ("unknown", "weak", "known")
    code = sites(*SERVER, "north.probe.json", "--fail-if", "weak").code
    assert code == (0 if json.loads(sites(*SERVER, "north.probe.json", "--json").out)["outlook"] == "known" else 8)
    assert not (tmp_path / "unused").exists()


def test_answers_are_signed_and_sealed_where_the_server_lists_keys(sites: Typed, tmp_path: Path) -> None:
    for name in ("north", "south"):
        keys.write_pair(tmp_path / name, *keys.client_pair())
    keys.write_pair(tmp_path / "server", *keys.server_pair())
    listed = {name: (tmp_path / f"{name}.pub").read_text().strip() for name in ("north", "south")}
    settings = yaml.safe_load((tmp_path / "server.yaml").read_text())
    write(tmp_path / "server.yaml", {**settings, "server": {"keys": listed}})
    sites(*SERVER, "--per-class", "2")
    assert sites(*probe("north", "--key", "north.key", "--seal-to", "server.pub")).code == 0
    assert not (tmp_path / "north.probe.json").exists()
    said = sites(*probe("south", "--key", "north.key"))  # in the name of another
    assert said.code == 0, said.err
    answers = ("north.probe.json.age", "south.probe.json")
    found = json.loads(sites(*SERVER, *answers, "--key", "server.key", "--json").out)
    assert set(found["clients"]) == {"north"}
    assert {name: one["rule"] for name, one in found["refused"].items()} == {"south.probe.json": "sender"}
    said = sites("client", "review", "south.probe.json")
    assert said.code == 0, said.err
    assert "scores of pictures beside" in said.out


def test_what_is_no_honest_answer_is_named_and_left_out(sites: Typed, tmp_path: Path) -> None:
    sites(*SERVER, "--per-class", "2")
    sites(*probe("north"))
    honest = json.loads((tmp_path / "north.probe.json").read_text())
    for name, change in {
        "stranger": {"client_id": "west"},
        "replayed": {"request": "0" * 64},
        "other-run": {"run": "skin-2"},
        "impossible": {"client_id": "south", "recognized": 1.5},
        "too-many": {"client_id": "south", "reference": 10**6},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**honest, **change}))
    (tmp_path / "noise.json").write_bytes(b"\x00{")
    names = ("stranger", "replayed", "other-run", "impossible", "too-many", "noise")
    said = sites(*SERVER, "north.probe.json", *(f"{name}.json" for name in names), "north.probe.json", "--json")
    found = json.loads(said.out)
    assert set(found["clients"]) == {"north"}
    rules = {Path(name).stem.removesuffix(".probe"): one["rule"] for name, one in found["refused"].items()}
    assert rules == {
        "stranger": "sender",
        "replayed": "replay",
        "other-run": "replay",
        "impossible": "value",
        "too-many": "value",
        "noise": "format",
        "north": "replay",
    }
    said = sites(*SERVER, "noise.json")
    assert said.code == 4
    assert "no client could judge the pictures" in said.err


def test_a_site_answers_only_what_it_allows_and_what_is_of_its_run(sites: Typed, tmp_path: Path) -> None:
    sites(*SERVER, "--per-class", "2")
    data = (tmp_path / "probe.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-9])
    (tmp_path / "changed.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for file, word in (("cut", "the file is cut"), ("changed", "checksum")):
        said = sites(*probe("north", "--request", f"{file}.safetensors"))
        assert (said.code, word in said.err) == (5, True), said.err
    shared = yaml.safe_load((tmp_path / "shared.yaml").read_text())
    write(tmp_path / "shared.yaml", {**shared, "upload": {**shared["upload"], "run_id": "skin-2"}})
    said = sites(*probe("north"))
    assert said.code == 5
    assert "a probe of the run 'skin-1'; this is 'skin-2'" in said.err
    write(tmp_path / "shared.yaml", {**shared, "dataset": {"class_names": CLASSES[::-1]}})
    assert "another class list" in sites(*probe("north")).err
    write(tmp_path / "shared.yaml", {**shared, "features": {"name": "pixels", "size": 4}})
    (tmp_path / "mine.json").write_text("[]")
    assert "this is neither" in sites(*probe("north", "--out", "mine.json")).err
    site = yaml.safe_load((tmp_path / "north.yaml").read_text())
    write(tmp_path / "north.yaml", {**site, "site": {**site["site"], "tasks": ["upload"]}})
    said = sites(*probe("north"))
    assert said.code == 2
    assert "site.tasks allows upload" in said.err
    assert not (tmp_path / "north.probe.json").exists()
