"""The table of baselines: a row is all that a new one takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core import status
from fgl.core.baselines import BASELINES, Baseline, compared, find, heading
from fgl.core.config.resolve import resolve
from fgl.core.experiments import costs
from fgl.core.experiments.methods import parse
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.stages import baselines as stages
from fgl.core.stages.stage import Done
from fgl.core.store.run_dir import RunDir

SMALL: dict[str, Any] = {
    "dataset": {"name": "bundled", "subset": "eurosat", "max_per_class": 2},
    "partition": {"name": "iid", "clients": 2},
    "synthesis": {"images_per_class": 1},
    "classifier": {"epochs": 1, "image_size": 16},
}


def majority_inputs(session: Any, done: Done) -> dict[str, object]:
    return {"dataset": session.info.digest}


def majority(session: Any, done: Done) -> dict[str, dict[str, Any]]:
    def work(digest: str) -> tuple[Any, list[Path]]:
        score = {"top1": 0.1, "balanced_accuracy": 0.1, "macro_f1": 0.1, "per_class": {}}
        return stages.entry("majority", score, note="always the same class"), []

    return stages._stage(session, "majority", majority_inputs(session, done), work)


def majority_cost(config: Any, data: Any) -> costs.Cost:
    return costs.Cost(models=3)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Baseline:
    """A baseline more, as a contributor would write it."""
    added = Baseline(
        "majority",
        title="the most frequent class",
        answers="what no classifier at all would give",
        make=f"{__name__}:majority",
        inputs=f"{__name__}:majority_inputs",
        cost=f"{__name__}:majority_cost",
    )
    monkeypatch.setitem(BASELINES, added.name, added)
    return added


def test_a_new_baseline_is_one_row(row: Baseline, tmp_path: Path) -> None:
    manager = PluginManager.load()
    config = resolve([{**SMALL, "baselines": ["majority"]}], manager.registry)
    assert "majority" in resolve([{"baselines": "all"}], manager.registry).baselines
    assert heading("majority") == "baseline majority: what no classifier at all would give"
    out = tmp_path / "run"
    result = fgl.run(config, out=out)
    assert result.baselines == {"majority": 0.1}
    assert "| the most frequent class | 10.0% |" in (out / "report.md").read_text()
    session = open_session(config, manager, RunDir(out), NullProgress())
    assert {state.stage: state.state for state in status.stages(session)}["baseline:majority"] == "done"
    (method,) = parse(["majority"], 1, manager, config, lambda name: config)
    assert method.title == row.title
    assert costs.of_seed(config, [method], costs.Data(10, 2, 2))["majority"] == costs.Cost(models=3)


@pytest.mark.parametrize("name", [*BASELINES, "prompts:attributes"])
def test_every_function_that_a_row_names_is_there(name: str) -> None:
    from pkgutil import resolve_name

    baseline = find(name)
    assert all(callable(resolve_name(text)) for text in (baseline.make, baseline.inputs, baseline.cost) if text)
    assert bool(baseline.inputs) is not baseline.is_run


def test_what_is_made_with_another_is_of_its_part_and_stage() -> None:
    assert (find("local").stage, heading("local")) == (find("fedavg").stage, heading("fedavg"))
    assert set(compared()) == {"class-list", "local", "centralized"}


def test_other_prompts_are_a_baseline_of_any_strategy() -> None:
    baseline = find("prompts:attributes")
    assert (baseline.title, baseline.is_run) == ("fgl one-shot, attributes prompts", True)
