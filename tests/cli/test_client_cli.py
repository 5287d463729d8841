"""A client on a machine of its own sends what its owner meant, and sees it before anybody else does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fgl.contracts.prompts import Prompt
from fgl.core.wire import upload
from tests.helpers.cli import CliResult

Typed = Callable[..., CliResult]
CLASSES = ["benign", "malignant"]


@pytest.fixture
def north(fgl: Typed, tmp_path: Path) -> Typed:
    """`fgl` in a folder with shared.yaml, north.yaml and north's images: 12 and 3 of the classes."""
    for name, count in zip(CLASSES, (12, 3), strict=True):
        folder = tmp_path / "ward" / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((8, 8, 3), 9 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    write(tmp_path / "shared.yaml", shared())
    write(tmp_path / "north.yaml", {"dataset": {"name": "imagefolder", "path": "ward"}})
    return fgl


def shared(**changes: Any) -> dict[str, Any]:
    asked = {"upload": {"clients": ["north", "south"], "run_id": "skin-1"}, "dataset": {"class_names": CLASSES}}
    return {**asked, **changes}


def write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(settings))


PREPARE = ("client", "prepare", "shared.yaml", "north.yaml", "--client", "north")


def test_without_a_dataset_of_the_sites_own_nothing_is_sent_in_its_name(north: Typed, tmp_path: Path) -> None:
    for settings in (shared(), shared(dataset="bundled"), shared(dataset={"name": "imagefolder", "path": "ward"})):
        write(tmp_path / "shared.yaml", settings)
        said = north("client", "prepare", "shared.yaml", "--client", "north")
        assert said.code == 2
        assert "expected a dataset of the site's own" in said.err
        assert "--simulate" in said.err
    assert "of the site's own" in north("client", "prepare", "--client", "north").err
    assert not list(tmp_path.glob("*.safetensors"))


def test_two_files_are_taken_and_all_images_of_the_site_are_used(north: Typed) -> None:
    said = north(*PREPARE)
    assert said.code == 0, said.err
    assert "dataset   ward (imagefolder)" in said.out
    assert ": 15 images" in said.out
    assert said.out.index("benign") < said.out.index("north.safetensors: "), "it is said before it is written"
    assert "warning: counts below 10 are sent exactly as they are: malignant 3" in said.out
    told = json.loads(north(*PREPARE, "--json").out)
    assert told["held"] == {"benign": 12, "malignant": 3}
    assert [(one["class"], one["samples"]) for one in told["classes"]] == [("benign", 12), ("malignant", 3)]
    assert [one["class"] for one in told["small_counts"]] == ["malignant"]
    assert told["written"]
    assert told["file"] == "north.safetensors"


def test_images_that_are_held_out_are_said_and_confirmed(north: Typed, tmp_path: Path) -> None:
    write(tmp_path / "north.yaml", {"dataset": {"name": "imagefolder", "path": "ward", "holds": "all"}})
    said = north(*PREPARE)
    assert said.code == 4
    assert "3 of 15 images are a test split, and would be missing from the upload" in said.err
    assert not (tmp_path / "north.safetensors").exists()
    said = north(*PREPARE, "--leave-out")
    assert said.code == 0, said.err
    assert "3 more are of the split test, and are not used" in said.out


def test_a_dry_run_shows_all_that_would_leave_and_writes_nothing(north: Typed, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    said = north(*PREPARE, "--dry-run")
    assert said.code == 0, said.err
    for word in ("prompt_embeds", "guidance_scale", "how many samples each row stands for", "nothing was written"):
        assert word in said.out
    assert "\\x0a" not in said.out
    assert "\n\nits fields; apart from digests" in said.out
    assert "real world images" not in said.out, "prompts that stay are not of what leaves"
    said = north(*PREPARE, "--dry-run", "--set", "upload.codec=text")
    assert "  malignant, real world images, high resolution\n" in said.out
    told = json.loads(north(*PREPARE, "--dry-run", "--json", "--set", "upload.codec=text").out)
    assert told["texts"] == [f"{name}, real world images, high resolution" for name in CLASSES]
    assert (told["file"], told["written"]) == (None, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    would = told["sha256"]
    assert json.loads(north(*PREPARE, "--json", "--set", "upload.codec=text").out)["sha256"] == would


def test_what_a_shared_file_may_not_ask_is_refused_with_the_rule_and_the_way_to_allow_it(
    north: Typed, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("class,prompt\nbenign,Alice\nmalignant,Bob\n")
    strategy = {"name": "prompts-file", "path": str(path)}
    write(tmp_path / "shared.yaml", shared(prompt_strategy=strategy, upload={"clients": ["north"], "codec": "text"}))
    said = north(*PREPARE)
    assert said.code == 2
    assert "upload.codec: got 'text'; site.codecs allows fp16, fp32, int8" in said.err
    assert "site.paths allows none; to allow it, add it to site.paths in the site's own file" in said.err
    assert not list(tmp_path.glob("north.s*"))
    site = {"codecs": ["text"], "paths": [str(tmp_path)], "private": str(tmp_path / "kept")}
    write(tmp_path / "north.yaml", {"dataset": {"name": "imagefolder", "path": "ward"}, "site": site})
    said = north(*PREPARE)
    assert said.code == 0, said.err
    assert (tmp_path / "kept" / "prompts.jsonl").exists()


def test_a_shared_file_cannot_write_the_sites_policy(north: Typed, tmp_path: Path) -> None:
    write(tmp_path / "shared.yaml", shared(site={"codecs": ["text"]}))
    said = north(*PREPARE)
    assert said.code == 2
    assert "site: got shared.yaml" in said.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--client", "north", "--simulate"), "upload.clients: got north, south; null"),
        (("--client", "north", "--out", "shared.yaml"), "--out: got shared.yaml; expected a path that does not exist"),
        (
            ("--client", "north", "--private", "ward"),
            "--private: got ward; it holds benign, malignant, which fgl did not write",
        ),
        (
            ("--client", "north", "--private", "ward/p"),
            "--private: got ward/p; expected a folder outside of the dataset",
        ),
        (("--client", "north", "--out", "ward/up"), "--out: got ward/up; expected a folder outside of the dataset"),
    ],
)
def test_wrong_places_and_roles_are_refused(north: Typed, arguments: tuple[str, ...], word: str) -> None:
    said = north("client", "prepare", "shared.yaml", "north.yaml", *arguments)
    assert said.code == 2
    assert word in said.err


def test_an_upload_of_another_client_or_run_is_not_replaced(north: Typed, tmp_path: Path) -> None:
    assert north(*PREPARE).code == 0
    before = (tmp_path / "north.safetensors").read_bytes()
    other = ("client", "prepare", "shared.yaml", "north.yaml", "--out", "north.safetensors")
    said = north(*other, "--client", "south")
    assert said.code == 2
    assert "an earlier upload of south for the same run; this is of north for the run 'skin-1'" in said.err
    assert north(*other, "--client", "north", "--set", "upload.run_id=skin-2").code == 2
    assert (tmp_path / "north.safetensors").read_bytes() == before
    assert north(*PREPARE).code == 0, "its own may be written again"


def test_a_simulated_client_is_a_conscious_choice_and_says_so(fgl: Typed, tmp_path: Path) -> None:
    said = fgl("client", "prepare", "--client", "client-00", "--simulate")
    assert said.code == 2
    assert "dataset: got none; expected the dataset that is divided" in said.err
    said = fgl("client", "prepare", "--client", "client-00", "--simulate", "--dataset", "bundled:eurosat")
    assert said.code == 0, said.err
    assert "simulated: a part of it, by the partition dirichlet; not a site's own data" in said.out


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_reads_an_upload_back_in_plain_words(north: Typed, tmp_path: Path) -> None:
    north(*PREPARE)
    said = north("client", "show", "north.safetensors")
    assert said.code == 0, said.err
    words = (
        "upload    of north, for the run 'skin-1', round 0",
        "benign          12",
        "malignant        3",
        "codec     fp16; text encoder ",
        "sha256 ",
        "prompts can be recovered from them",
        "weight",
    )
    for word in words:
        assert word in said.out
    (tmp_path / "north.private").rename(tmp_path / "elsewhere")
    said = north("client", "show", "north.safetensors")
    assert "number 1" in said.out
    assert "class names are not in the file" in said.out
    told = json.loads(north("client", "show", "north.safetensors", "--private", "elsewhere", "--json").out)
    assert [one["class"] for one in told["classes"]] == CLASSES
    assert {one["name"] for one in told["fields"]} == {
        "class_id",
        "weight",
        "domain",
        "guidance_scale",
        "prompt_embeds",
    }


def test_show_prints_nothing_that_a_terminal_obeys(fgl: Typed, tmp_path: Path) -> None:
    prompts = [Prompt(0, "a\u202ecat", None, "ward 7", 2.0, None), Prompt(1, "dog", "b", "ward 7", 3.5, 1.0)]
    data = upload.encode_texts(upload.UploadHeader("north", 0, CLASSES, "r\u202eun"), prompts)
    (tmp_path / "one.safetensors").write_bytes(data)
    said = fgl("client", "show", "one.safetensors")
    assert said.code == 0, said.err
    assert "\u202e" not in said.out
    assert "a\\u202ecat" in said.out
    assert "domains   samples of each: ward 7 5.5" in said.out


def test_files_that_are_no_sound_upload_are_refused_as_a_server_refuses_them(north: Typed, tmp_path: Path) -> None:
    north(*PREPARE)
    sound = (tmp_path / "north.safetensors").read_bytes()
    damaged = bytearray(sound)
    damaged[-1] ^= 1
    for data in (sound[:-3], sound + b"x", bytes(damaged), b"", b"not one", os.urandom(500)):
        (tmp_path / "bad").write_bytes(data)
        said = north("client", "show", "bad")
        assert said.code == 5
        assert "Traceback" not in said.err
        assert said.out == ""
    for place in ("/dev/null", "nowhere", "ward"):
        said = north("client", "show", place)
        assert said.code == 7
        assert "cannot read" in said.err


def test_prompts_say_what_the_shared_file_calls_the_classes_whatever_a_site_calls_its_folders(
    north: Typed, tmp_path: Path
) -> None:
    names = {"malignant": "a dark mole", "benign": "a pale mole"}
    write(tmp_path / "shared.yaml", shared(dataset={"class_names": CLASSES, "prompt_names": names}))
    as_text = (*PREPARE, "--dry-run", "--json", "--set", "upload.codec=text")
    texts = json.loads(north(*as_text).out)["texts"]
    assert texts
    assert all("a pale mole" in text or "a dark mole" in text for text in texts)
    assert not any(name in text for text in texts for name in CLASSES)
    (tmp_path / "ward" / "malignant").rename(tmp_path / "ward" / "MAL")
    own = {"benign": "benign", "MAL": "malignant"}
    write(tmp_path / "north.yaml", {"dataset": {"name": "imagefolder", "path": "ward", "labels": own}})
    assert sorted(json.loads(north(*as_text).out)["texts"]) == sorted(texts)


def test_a_site_is_warned_of_class_names_that_a_text_encoder_cannot_know(
    north: Typed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ward" / "malignant").rename(tmp_path / "ward" / "MAL")
    write(tmp_path / "shared.yaml", shared(dataset={"class_names": ["benign", "MAL"]}))
    assert north(*PREPARE, "--dry-run").code == 0
    assert "1 class name ('MAL') looks like an abbreviation" in caplog.text
    caplog.clear()
    write(tmp_path / "shared.yaml", shared(dataset={"class_names": ["benign", "MAL"], "prompt_names": {"MAL": "mole"}}))
    assert north(*PREPARE, "--dry-run").code == 0
    assert "abbreviation" not in caplog.text
