"""A dataset of a third party is named, found by its files and made small like a built-in one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fgl.core.config import presets, short_forms
from fgl.core.config import resolve as config_resolve
from fgl.core.config.loader import expand, set_option
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Registry
from fgl.errors import ConfigError
from tests.helpers.cli import CliResult, run_cli
from tests.helpers.installed import install

MINE = """
import hashlib
from typing import ClassVar, Literal

import numpy as np

from fgl import Component, DatasetInfo, Options, Subset, hookimpl


class MineOptions(Options):
    short_option: ClassVar[str] = "shape"

    shape: Literal["dots", "stripes"] = "dots"
    file: str = ""
    per_class: int = 80

    @classmethod
    def from_text(cls, text):
        return {"file": text} if text.endswith(".mine") else super().from_text(text)


class Images:
    domains = None

    def __init__(self, count, seed):
        self.labels, self.seed = np.repeat([0, 1], count), seed

    def __len__(self):
        return len(self.labels)

    def name(self, index):
        return f"image {index}"

    def image(self, index):
        from PIL import Image

        return Image.fromarray(np.random.default_rng([self.seed, index]).integers(0, 256, (32, 32, 3), dtype=np.uint8))


class Mine:
    def __init__(self, options):
        self.options = options

    def info(self):
        digest = hashlib.sha256(repr(self.options).encode()).hexdigest()
        return DatasetInfo(self.options.shape, ("round", "straight"), (), digest)

    def split(self, name):
        seeds = {"train": 0, "test": 1}
        return Images(self.options.per_class, seeds[name]) if name in seeds else None


@hookimpl
def fgl_datasets():
    return [
        Component(
            name="mine",
            target=Mine,
            options=MineOptions,
            smoke={"per_class": 30},
            opens=("*.mine", "*/mine.json", "*/*.parquet"),
        )
    ]
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    install(monkeypatch, tmp_path / "site", "fgl_mine_dataset", MINE, "mine-data")
    return PluginManager.load().registry


def resolved(registry: Registry, *layers: dict[str, object]) -> tuple[str, dict[str, object]]:
    found = config_resolve.resolve(layers, registry).dataset
    return found.name, found.options


def test_a_name_with_a_text_sets_the_option_that_its_options_say(registry: Registry) -> None:
    name, options = resolved(registry, {"dataset": "mine:stripes"})
    assert (name, options["shape"]) == ("mine", "stripes")
    flags = {"dataset": expand("dataset", "mine:stripes")}
    set_option(flags, "dataset.per_class=7")
    name, options = resolved(registry, flags)
    assert (name, options["shape"], options["per_class"]) == ("mine", "stripes", 7)
    selected = config_resolve.resolve([flags], registry).dataset
    assert short_forms.shown("dataset", selected, registry) == "mine stripes"


def test_a_text_that_its_options_refuse_is_told_with_its_key(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"dataset.shape: got 'rings'; expected 'dots' or 'stripes'"):
        resolved(registry, {"dataset": "mine:rings"})
    with pytest.raises(ConfigError, match=r"partition: got 'iid:3'; iid has no short form"):
        config_resolve.resolve([{"partition": "iid:3"}], registry)


def test_its_files_and_folders_are_known_by_what_it_opens(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.mine").touch()
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "train.parquet").touch()
    assert resolved(registry, {"dataset": "a.mine"})[1]["file"] == "a.mine"
    assert resolved(registry, {"dataset": "./absent.mine"})[0] == "mine"
    # what a path means does not change because a plugin is installed, unless the folder bears its mark
    assert short_forms.kind_of("dataset", "both", registry) == "parquet"
    (tmp_path / "both" / "mine.json").touch()
    assert short_forms.kind_of("dataset", "both", registry) == "mine"


def test_a_name_in_a_mapping_is_a_name_and_no_path(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "absent-plugin").mkdir()
    with pytest.raises(ConfigError, match="unknown dataset 'absent-plugin'"):
        resolved(registry, {"dataset": {"name": "absent-plugin", "path": "x"}})


def test_a_smoke_run_of_a_preset_makes_it_small(registry: Registry) -> None:
    given = {"dataset": "mine:stripes"}
    layers = presets.layers(presets.load("eurosat"), True, [given], registry)
    name, options = resolved(registry, *layers, given)
    assert (name, options["shape"], options["per_class"]) == ("mine", "stripes", 30)
    layers = presets.layers(presets.load("eurosat"), False, [given], registry)
    assert resolved(registry, *layers, given)[1]["per_class"] == 80


def test_the_command_line_runs_it_by_its_short_form(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fgl: Callable[..., CliResult] = run_cli(monkeypatch, capsys)
    said = fgl(
        "run",
        "--preset",
        "eurosat",
        "--smoke",
        "--dataset",
        "mine:stripes",
        "--partition",
        "iid",
        "--dry-run",
        "--json",
    )
    assert said.code == 0, said.err
    plan = json.loads(said.out)["dry_run"]
    assert (plan["train_images"], plan["classes"]) == (60, ["round", "straight"])
    assert "mine:stripes" in said.err
    said = fgl("run", "--dataset", "mine:dots", "--dry-run")
    assert "dataset mine dots" in said.err
    assert "fgl_mine_dataset" in sys.modules
