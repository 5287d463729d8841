"""What `fgl datasets check` warns of: data that can be read, and that a person should look at all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgl.contracts.dataset import DatasetInfo
from fgl.contracts.progress import NullProgress
from fgl.core.config.resolve import resolve
from fgl.core.experiments.cautions import suggest_domains
from fgl.core.experiments.dataset_check import survey
from fgl.core.plugin_manager import PluginManager


def put(folder: Path, numbers: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def check(path: Path, divided: bool = True, **options: Any) -> dict[str, Any]:
    manager = PluginManager.load()
    dataset = {"name": "imagefolder", "path": str(path), **options}
    return survey(resolve([{"dataset": dataset}], manager.registry), manager, None, NullProgress(), divided)


def warned(found: dict[str, Any], said: str) -> bool:
    return any(said in warning for warning in found["warnings"])


def test_sound_data_has_no_warning(tmp_path: Path) -> None:
    for place, name in enumerate(("cat", "dog")):
        put(tmp_path / "train" / name, range(100 * place, 100 * place + 12))
        put(tmp_path / "test" / name, range(1000 + 100 * place, 1000 + 100 * place + 20))
    found = check(tmp_path)
    assert found["warnings"] == []
    assert found["fits"]


def test_imbalance_is_said_as_a_ratio_and_with_what_guessing_gets(tmp_path: Path) -> None:
    put(tmp_path / "train" / "cat", range(60))
    put(tmp_path / "train" / "dog", range(100, 105))
    put(tmp_path / "test" / "cat", range(1000, 1020))
    put(tmp_path / "test" / "dog", range(1100, 1120))
    found = check(tmp_path)
    assert warned(found, "'cat' has 12 times the training images of 'dog' (60 and 5)")
    assert warned(found, "whoever always guesses 'cat' is right in 92% of them")
    assert warned(found, "1 class with fewer than 10 train images: 'dog' 5")


def test_duplicates_within_and_across_splits_are_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "cat", range(3))
        put(tmp_path / split / "dog", range(100, 103))
    whole = Image.open(tmp_path / "train" / "cat" / "0.png")
    whole.save(tmp_path / "train" / "cat" / "again.bmp")  # other bytes, the same pixels
    whole.save(tmp_path / "train" / "dog" / "again.bmp")
    found = check(tmp_path)
    assert warned(found, "6 test images in train too, pixel by pixel, such as ")
    assert warned(found, "2 images of train there more than once, such as ")
    assert warned(found, "1 image in several classes, such as ")


@pytest.mark.parametrize("name", ["n02084071", "bcc", "AC", "nv", "SeaLake", "class_3", "7", "golden_retriever"])
def test_names_that_no_caption_has_are_warned_of(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, range(4))
    put(tmp_path / "melanoma", range(100, 104))
    found = check(tmp_path)
    assert warned(found, f"1 class name ('{name}') looks like an abbreviation, a number or joined words")
    mapped = check(tmp_path, labels={name: "something else", "melanoma": "melanoma"})
    assert not warned(mapped, "abbreviation")
    assert not warned(check(tmp_path, prompt_names={name: "something else"}), "abbreviation")


@pytest.mark.parametrize("name", ["cat", "sky", "NORMAL", "river", "T-shirt", "naïve", "猫", "English springer"])
def test_ordinary_words_are_not_taken_for_abbreviations(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, range(4))
    put(tmp_path / "melanoma", range(100, 104))
    assert not warned(check(tmp_path), "abbreviation")


@pytest.mark.parametrize("names", [("Cat", "cat"), ("cat ", "cat"), ("big cat", "big  cat")])
def test_classes_that_become_one_prompt_do_not_fit(tmp_path: Path, names: tuple[str, str]) -> None:
    put(tmp_path / names[0], range(4))
    put(tmp_path / names[1], range(100, 104))
    found = check(tmp_path)
    assert not found["fits"]
    assert any("classes alike: " in problem for problem in found["problems"])


def test_domains_that_nobody_divided_by_are_suggested(tmp_path: Path) -> None:
    for place, domain in enumerate(("real", "sketch")):
        put(tmp_path / domain / "cat", range(100 * place, 100 * place + 4))
        put(tmp_path / domain / "dog", range(1000 + 100 * place, 1004 + 100 * place))
    said = "this data has 2 domains (real, sketch): --partition domain makes each a client"
    assert said in check(tmp_path, divided=False)["warnings"]
    assert said not in check(tmp_path)["warnings"]
    assert suggest_domains(DatasetInfo("x", ("a", "b"), ("only",), "")) == ""


@pytest.mark.parametrize("holds", ["train", "test"])
def test_what_a_client_or_a_server_holds_alone_fits(tmp_path: Path, holds: str) -> None:
    put(tmp_path / "cat", range(4))
    found = check(tmp_path, holds=holds, class_names=["cat", "dog"])
    assert found["fits"], found["problems"]
    assert list(found["splits"]) == [holds]
