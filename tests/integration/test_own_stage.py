"""A new stage is a value in the list of stages: whatever goes by that list knows it without another line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core.orchestrator import reopen
from fgl.core.server import forget
from fgl.core.stages import export, plan, synthesize
from fgl.core.stages import pipeline as run_pipeline
from fgl.core.stages.stage import Done, Inputs, Stage, Work
from fgl.core.status import stages
from tests.helpers.cli import checked
from tests.helpers.settings import small

if TYPE_CHECKING:
    from fgl.core.session import Session


@dataclass(frozen=True, slots=True)
class CountResult:
    images: dict[str, int]
    """Class → synthetic images of it."""


calls: list[str] = []


def inputs(session: Session, done: Done) -> Inputs:
    return {"synthetic": done.made(synthesize.STAGE)}


def work(session: Session, done: Done, digest: str) -> Work[CountResult]:
    calls.append(digest)
    names = session.info.class_names
    counts = Counter(names[item.class_id] for item in plan.planned(session, done).items)
    path = session.run.path("counts", "images.json")
    session.run.write_json(path, counts)
    return CountResult(dict(counts)), [path]


COUNT = Stage(
    name="count",
    needs=("synthesize",),
    result=CountResult,
    inputs=inputs,
    work=work,
    outputs=("counts",),
    heading=lambda session: "the synthetic images counted",
)


def test_a_stage_of_ones_own_is_run_reused_listed_and_forgotten(
    images: Callable[..., Path], pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_pipeline, "PIPELINE", (*run_pipeline.PIPELINE, COUNT))
    calls.clear()
    out, config = tmp_path / "run", small(images(per_class=6), pipeline)
    first = fgl.run(config, out=out)
    assert len(calls) == 1
    assert (out / "counts" / "images.json").exists()
    assert "count" not in first["reused_stages"]
    assert "count" in first["seconds"]
    second = fgl.resume(out)
    assert len(calls) == 1
    assert "count" in second["reused_stages"]

    session = reopen(out, NullProgress())
    assert {one.stage: one.state for one in stages(session)}["count"] == "done"
    (out / "counts" / "images.json").unlink()
    (state,) = (one for one in stages(session) if one.stage == "count")
    assert (state.state, state.why) == ("stale", "damaged or missing: counts/images.json")
    fgl.resume(out)
    assert len(calls) == 2

    with session.run.lock():
        forget.clear(session.run, run_pipeline.given())
    assert not (out / "counts").exists()
    assert session.run.recorded("count") is None
    assert session.run.recorded("partition") is not None
    assert list((out / "server" / "uploads").iterdir())


def test_what_a_stage_left_that_is_no_longer_asked_for_goes_with_the_client(
    images: Callable[..., Path],
    pipeline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, data = tmp_path / "run", images(per_class=6)
    fgl.run(small(data, pipeline, rounds={"count": 1}), out=out)
    assert list((out / "rounds").rglob("*.safetensors"))
    fgl.run(small(data, pipeline), out=out)
    assert list((out / "rounds").rglob("*.safetensors"))  # a longer training may still want it
    checked(monkeypatch, capsys)("server", "forget", out, "--client", "client-00", "--later", "--quiet")
    assert not (out / "rounds").exists()
    assert (out / "classifier" / "config.json").exists()  # the next run replaces it


def claimed(path: Path, out: Path, places: set[str]) -> bool:
    name = path.relative_to(out).as_posix()
    return any(name == place or name.startswith(f"{place}/") for place in places)


def test_each_file_that_stages_leave_is_in_the_outputs_of_one(
    images: Callable[..., Path], pipeline: Path, tmp_path: Path
) -> None:
    """What `outputs` and `given` state is all that there is, beside what the run itself writes."""
    out = tmp_path / "run"
    more: dict[str, Any] = {"rounds": {"count": 1}, "evaluation": {"quality": True, "at_clients": True}}
    fgl.run(small(images(per_class=6), pipeline, features="pixels", **more), out=out)
    places = {place for stage in run_pipeline.PIPELINE for place in (*stage.outputs, *stage.given)}
    own = {"stages", "sheets", "config.yaml", "environment.json", "metrics.jsonl", "report.json", "report.md"}
    lost = [
        path
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not claimed(path, out, places | own)
    ]
    assert lost == []


def test_stages_come_after_what_they_need() -> None:
    before: set[str] = set()
    for stage in run_pipeline.PIPELINE:
        assert before >= set(stage.needs), stage.name
        before.add(stage.name)


def test_what_a_stage_rests_on_is_found_by_its_needs(
    images: Callable[..., Path], pipeline: Path, tmp_path: Path
) -> None:
    from fgl.core.config.saved import load_config
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.preflight import open_session
    from fgl.core.store.run_dir import RunDir

    manager = PluginManager.load()
    config = load_config(small(images(per_class=6), pipeline), manager)
    session = open_session(config, manager, RunDir(tmp_path / "run"), NullProgress())
    names = [stage.name for stage in run_pipeline.upto(session, "export")]
    assert names == ["partition", "clients", "plan", "synthesize", "train", "evaluate", "export"]
    assert export.STAGE.outputs == ("classifier",)
