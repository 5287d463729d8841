"""Clients adapt the generator in rounds, and the run synthesizes with what they made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fgl
from fgl.core import orchestrator, status
from fgl.core.client import adapting
from fgl.core.wire import updates
from fgl.errors import ConfigError
from fgl.plugins.generators.options import LORA_FILE


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(images: Callable[..., Path], pipeline: Path) -> Callable[..., dict[str, Any]]:
    root = images(per_class=10)

    def make(**adaptation: Any) -> dict[str, Any]:
        return {
            "dataset": {"path": str(root)},
            "partition": {"name": "iid", "clients": 2},
            "generator": {
                "name": "stable-diffusion",
                "model": str(pipeline),
                "num_inference_steps": 1,
                "guidance_scale": 1.0,
                "dtype": "fp32",
            },
            "synthesis": {"images_per_class": 2},
            "classifier": {"name": "small", "epochs": 1},
            "baselines": "none",
            "adaptation": {"rank": 2, "batch_size": 8, "local_steps": 2, "rounds": 2, "lr": 0.05, **adaptation},
        }

    return make


def test_the_adapted_generator_makes_the_set_and_the_report_counts_its_bytes(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    adapted = fgl.run(config(), tmp_path / "adapted", progress=False)
    plain = fgl.run(config(rounds=0), tmp_path / "plain", progress=False)
    assert adapted.digest != plain.digest
    found = adapted["adaptation"]
    assert [entry["clients"] for entry in found["rounds"]] == [["client-00", "client-01"]] * 2
    assert all(entry["loss"] > 0 and entry["top1"] is None for entry in found["rounds"])
    assert found["bytes_up"] >= 4 * found["adapter_bytes"]
    assert (tmp_path / "adapted" / found["place"] / LORA_FILE).exists()
    assert "adaptation" not in plain
    assert adapted["client_model"]["whole"]
    report = (tmp_path / "adapted" / "report.md").read_text(encoding="utf-8")
    assert "can repeat them" in report
    # nothing of a stage before the adaptation depends on it, and without it no record says a word of it
    for stage in ("partition", "clients", "plan", "synthesize"):
        records = [
            json.loads((tmp_path / name / "stages" / f"{stage}.json").read_text()) for name in ("adapted", "plain")
        ]
        assert set(records[0]["inputs"]) == set(records[1]["inputs"])
        assert (records[0]["inputs"] == records[1]["inputs"]) == (stage in ("partition", "clients"))


def test_more_rounds_resume_fewer_and_a_second_run_reuses_all(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    whole = fgl.run(config(factors="up"), tmp_path / "whole", progress=False)
    fgl.run(config(factors="up", rounds=1), tmp_path / "more", progress=False)
    more = fgl.run(config(factors="up"), tmp_path / "more", progress=False)
    assert more.digest == whole.digest
    assert "partition" in more["reused_stages"]
    again = fgl.resume(tmp_path / "more", progress=False)
    assert {"adaptation", "plan", "synthesize", "train"} <= set(again["reused_stages"])
    states = list(status.stages(orchestrator.reopen(tmp_path / "more", _Quiet())))
    assert {state.state for state in states} == {"done"}


@pytest.mark.parametrize("algorithm", ["fedprox", "scaffold", "fedadam"])
def test_every_algorithm_can_average_adapters(
    config: Callable[..., dict[str, Any]], tmp_path: Path, algorithm: str
) -> None:
    given = {**config(rounds=1, kind="full", layers="attention"), "algorithm": algorithm}
    result = fgl.run(given, tmp_path / "run", progress=False)
    assert result["adaptation"]["option"] == "model"
    assert len(result["adaptation"]["rounds"]) == 1


def test_a_hostile_adapter_is_left_out(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = adapting.adapt

    def hostile(asked: Any, message: memoryview) -> bytes:
        reply = honest(asked, message)
        if asked["client_id"] != "client-01":
            return reply
        model, _, _ = updates.received(reply)
        name = next(iter(model))
        model[name] = np.full_like(model[name], np.inf)
        header = updates.Header("", "client-01", asked["round"], samples=3)
        return updates.encode(header, model, {})

    monkeypatch.setattr(adapting, "adapt", hostile)
    result = fgl.run(config(rounds=1), tmp_path / "run", progress=False)
    (entry,) = result["adaptation"]["rounds"]
    assert entry["clients"] == ["client-00"]
    assert "not finite" in entry["failed"]["client-01"]


def test_membership_of_an_adapted_run_is_not_measured_and_memorization_is(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    fgl.run(config(rounds=1), tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="the clients adapted the generator"):
        fgl.audit(tmp_path / "run", parts=["membership"], progress=False)
    result = fgl.audit(tmp_path / "run", parts=["memorization"], features="pixels", progress=False)
    assert result.memorization is not None


class _Quiet(fgl.NullProgress):
    pass
