"""fgl from Python: the commands as functions, with results that have names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import fgl
from fgl.core.report.schema import RunReport

SMALL: dict[str, Any] = {
    "generator": {"name": "tiny", "num_inference_steps": 1},
    "dataset": {"name": "bundled", "max_per_class": 12},
    "partition": {"name": "iid", "clients": 2},
    "synthesis": {"images_per_class": 3},
    "classifier": {"name": "small", "epochs": 1},
    "baselines": ["class-list"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fgl.run(SMALL, out=tmp_path_factory.mktemp("python") / "run", progress=False)


def test_a_run_is_the_dict_it_was_with_its_first_figures_as_attributes(made: Any) -> None:
    assert isinstance(made, dict)
    assert made == json.loads((made.folder / "report.json").read_text(encoding="utf-8"))
    assert made.top1 == made["result"]["selected"]["top1"]
    assert made.bytes_sent == made["upload"]["bytes_total"] > 0
    assert made.baselines == {"class-list": made.top1}
    assert made.digest == made["synthetic"]["digest"]
    assert made.refused == {}
    assert len(made.per_class) == 10
    plain = made.to_dict()
    assert type(plain) is dict
    plain["result"].clear()
    assert made["result"]


def test_progress_goes_to_stderr_unless_it_is_switched_off(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fgl.run(SMALL, out=made.folder, progress=False)
    assert capsys.readouterr() == ("", "")
    fgl.run(SMALL, out=made.folder)
    text = capsys.readouterr()
    assert text.out == ""
    assert "part 1 of 2: one-shot run with class-name prompts" in text.err


def test_quality_has_both_sides_of_each_figure(made: Any) -> None:
    found = fgl.quality(made.folder, features="pixels", progress=False)
    assert found.coverage.synthetic is not None
    assert found.coverage.real is not None
    assert found.coverage.real == found.to_dict()["overall"]["held_out"]["coverage"]
    assert found.folder == made.folder / "quality"
    report = json.loads((made.folder / "report.json").read_text(encoding="utf-8"))
    assert report["quality_beside"]["pixels"] == found.to_dict()
    with pytest.raises(fgl.FGLError, match=r"evaluation\.real"):
        fgl.quality(made.folder, features="pixels", real="trian", progress=False)


def test_an_audit_has_a_part_or_says_why_not(made: Any) -> None:
    found = fgl.audit(made.folder, parts=("uploads",), progress=False)
    assert found.uploads is not None
    assert set(found.uploads["clients"]) == {"client-00", "client-01"}
    assert (found.membership, found.memorization) == (None, None)
    with pytest.raises(fgl.FGLError, match="shadows"):
        fgl.audit(made.folder, shadows=3, progress=False)


def test_a_comparison_says_by_how_much_fgl_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = fgl.compare(SMALL, methods=["fgl", "fedavg"], seeds=2, rounds=1, out=tmp_path / "side")
    assert "seed 1: fedavg, 1 round" in capsys.readouterr().err
    one, other = found.methods["fgl"], found.methods["fedavg"]
    assert one.fgl_minus_this is None
    assert other.fgl_minus_this is not None
    mean, low, high = other.fgl_minus_this
    assert mean == pytest.approx(one.top1[0] - other.top1[0])
    assert low is not None
    assert high is not None
    assert low <= mean <= high
    assert found.to_dict() == json.loads((tmp_path / "side" / "compare.json").read_text(encoding="utf-8"))


def test_a_probe_and_a_partition_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = fgl.probe({**SMALL, "features": "pixels"}, per_class=2, progress=False)
    assert found.outlook in ("unknown", "weak", "known")
    assert found.chance == pytest.approx(0.1)
    assert found.coverage.real == found.to_dict()["all"]["real"]["coverage"]
    held = fgl.partition(SMALL, progress=False)
    assert len(held.class_names) == 10
    assert sum(sum(classes.values()) for classes in held.samples.values()) == 120
    assert held.domains == {"client-00": {}, "client-01": {}} or held.domains == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["Probe", "Quality", "Audit", "Partition", "Comparison"])
def test_results_cannot_be_changed(name: str) -> None:
    import fgl.results

    kind = getattr(fgl.results, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert callable(kind.to_dict)


def test_progress_of_ones_own_is_used(made: Any, tmp_path: Path) -> None:
    class Counting:
        def __init__(self) -> None:
            self.tasks: list[str] = []

        def track(self, what: str, total: int, unit: str = "images") -> Any:
            from fgl.contracts.progress import NullProgress

            self.tasks.append(what)
            return NullProgress()

    mine = Counting()
    fgl.partition(SMALL, progress=mine)
    assert mine.tasks == ["read the dataset"]


def test_a_report_is_of_its_schema_key_by_key(made: Any) -> None:
    """docs/report.md is made from the schema, see tests/unit/core/report/test_schema.py."""
    report = json.loads((made.folder / "report.json").read_text(encoding="utf-8"))
    typed = RunReport.from_dict(report)
    assert typed.to_dict() == report
    assert typed.result.selected.top1 == report["result"]["selected"]["top1"]
    with pytest.raises(ValueError, match="surplus: no such key"):
        RunReport.from_dict({**report, "surplus": 1})
    with pytest.raises(KeyError, match="upload"):
        RunReport.from_dict({key: value for key, value in report.items() if key != "upload"})
