"""The committed evidence: what its pieces ask for, and that its document says what its results say."""

from __future__ import annotations

import argparse
import importlib.util
import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fgl.core.config.saved import load_config
from fgl.core.experiments.method_results import SeedResult
from fgl.core.experiments.methods import Method, parse
from fgl.core.plugin_manager import PluginManager

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def evidence() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_run", ROOT / "benchmarks" / "evidence" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_piece_is_a_configuration_with_methods(
    evidence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cifar10", "pacs"):  # data that may not be here: an empty folder of images stands in for the path
        (tmp_path / name / "train").mkdir(parents=True)
    manager, arguments = PluginManager.load(), argparse.Namespace(work=tmp_path / "work", data=tmp_path)
    folders = []
    for piece in evidence.pieces().values():
        for _, folder, config in evidence.settings(piece, arguments, manager):
            configured = partial(load_config, config, manager)
            assert parse(piece["methods"], piece["rounds"], manager, config, configured)
            folders.append(folder)
    assert len(set(folders)) > 15
    with pytest.raises(SystemExit, match="say where it lies with --data"):
        list(
            evidence.settings(
                evidence.pieces()["cifar10-unseen"], argparse.Namespace(work=tmp_path, data=None), manager
            )
        )


def test_sittings_join_where_they_asked_for_the_same(
    evidence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "HERE", tmp_path)
    (tmp_path / "results").mkdir()
    methods = [Method("fgl"), Method("fedavg", 2, "fedavg")]

    def result(top1: float) -> SeedResult:
        return SeedResult(top1=top1, bytes=1, seconds=1.0, curve=[(2, top1, 1)], bytes_up=1, client_seconds=0.5)

    def sitting(found: dict[int, dict[str, SeedResult]], asked: str = "this") -> dict[str, Any]:
        setting: dict[str, Any] = {"setting": ""}
        made = {"piece": "small", "asked": asked, "settings": [setting]}
        evidence._join(made, setting, found, methods)
        (tmp_path / "results" / "small.json").write_text(json.dumps(made))
        return made

    sitting({0: {"fgl": result(0.5)}})
    made = sitting({1: {"fgl": result(0.7), "fedavg": result(0.1)}})
    (setting,) = made["settings"]
    assert made["seeds"] == [0, 1]
    assert [(row["method"], row["seeds"], row["top1"]["mean"]) for row in setting["methods"]] == [
        ("fgl", 2, pytest.approx(0.6)),
        ("fedavg", 1, pytest.approx(0.1)),
    ]
    again = sitting({1: {"fgl": result(0.9)}})  # done again, it takes the place of what was there
    assert again["settings"][0]["methods"][0]["top1"]["mean"] == pytest.approx(0.7)
    assert set(again["settings"][0]["each"][1]) == {"fgl", "fedavg"}
    assert sitting({2: {"fgl": result(0.2)}}, asked="something else")["seeds"] == [2]


def test_the_document_says_what_the_results_say(evidence: ModuleType, tmp_path: Path) -> None:
    said = evidence.report(evidence.pieces(), tmp_path / "evidence")
    assert said == (ROOT / "docs" / "evidence.md").read_text()
    drawn = {path.name for path in (tmp_path / "evidence").iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs" / "evidence").iterdir()}
    assert "eurosat-0.01-200-rounds.svg" in drawn
