"""Paths of a configuration mean the same wherever a run is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgl.contracts.component import Component
from fgl.contracts.options import Options
from fgl.core.config.paths import located
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import Selected
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Entry


def test_what_lies_here_gets_its_absolute_path_and_other_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("pets", "test", "model", "home/lora", "weights", "space"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("prompts.csv", "who.json", "texts.txt"):
        (tmp_path / name).write_text("")
    layer = {
        "dataset": {"name": "imagefolder", "path": "pets", "test_path": "./test"},
        "partition": {"name": "listed", "path": "who.json"},
        "prompt_strategy": {"name": "prompts-file", "path": "prompts.csv"},
        "generator": {"name": "stable-diffusion", "model": "model", "lora": "~/lora", "safety_checker": "own"},
        "classifier": {"name": "transformers", "pretrained": "weights"},
        "features": {"name": "image-model", "model": "space"},
        "audit": {"dictionary": "texts.txt"},
    }
    manager = PluginManager.load()
    config = resolve([layer], manager.registry)
    found = located(config, manager.options).to_dict()
    assert found["dataset"]["path"] == str(tmp_path / "pets")
    assert found["dataset"]["test_path"] == str(tmp_path / "test")
    assert found["partition"]["path"] == str(tmp_path / "who.json")
    assert found["prompt_strategy"]["path"] == str(tmp_path / "prompts.csv")
    assert found["generator"]["model"] == str(tmp_path / "model")
    assert found["generator"]["lora"] == str(tmp_path / "home" / "lora")
    assert found["generator"]["safety_checker"] == "own"
    assert found["classifier"]["pretrained"] == str(tmp_path / "weights")
    assert found["features"]["model"] == str(tmp_path / "space")
    assert found["audit"]["dictionary"] == str(tmp_path / "texts.txt")
    assert located(resolve([found], manager.registry), manager.options).to_dict() == found
    monkeypatch.chdir(tmp_path / "home")
    assert located(config, manager.options).to_dict() == {
        **config.to_dict(),
        "generator": {**config.to_dict()["generator"], "lora": str(tmp_path / "home" / "lora")},
    }


class Named(Options):
    table: str

    def files(self) -> tuple[str, ...]:
        return (self.table,)


def test_a_path_in_an_upload_filter_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bounds.csv").write_text("1\n")
    registry = PluginManager.load().registry
    component = Component("by-table", Named, Named)
    registry.add(Entry("upload_filter", component, "mine", "fgl-mine"))
    config = resolve([{"upload": {"filters": ["aggregate", {"name": "by-table", "table": "bounds.csv"}]}}], registry)

    def options_of(family: str, selected: Selected) -> Options:
        return registry.options_class(registry.find(family, selected.name)).of(selected.options)

    assert located(config, options_of).upload.filters == [
        {"name": "aggregate", "aggregator": "class-mean", "options": {}},
        {"name": "by-table", "table": str(tmp_path / "bounds.csv")},
    ]
