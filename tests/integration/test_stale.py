"""What a result rests on is in its inputs: changed weights, and a model that was trained again, are seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fgl
from fgl.contracts.classifier import FitContext
from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import saved_config
from fgl.core.model_digests import contents
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.status import stages
from fgl.core.store.run_dir import RunDir
from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.classifiers.options import ClassifierOptions
from tests.conftest import changed
from tests.helpers.settings import small

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(folder, pipeline, synthesis={"images_per_class": 4}, classifier={"epochs": 2})
        return changed(base, changes)

    return make


@pytest.fixture
def network(tmp_path: Path) -> Path:
    options = ClassifierOptions(
        architecture="vit",
        image_size=16,
        config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "patch_size": 8,
        },
    )
    built = TransformersClassifier(options).initial(FitContext(class_names=("a", "b"), seed=0, device="cpu"))
    built.save(tmp_path / "vit", "last")
    return tmp_path / "vit"


def replace(folder: Path) -> None:
    """Other weights of the same shapes under the same name."""
    path = folder / "model.safetensors"
    save_file({name: array * 3 + 1 for name, array in load_file(path).items()}, path, {"format": "pt"})


def states(out: Path) -> dict[str, str]:
    run, manager = RunDir(out), PluginManager.load()
    session = open_session(saved_config(run, manager), manager, run, NullProgress())
    return {one.stage: f"{one.state}: {one.why}" for one in stages(session)}


def test_weights_that_were_replaced_in_place_are_trained_from_again(
    settings: Settings, network: Path, tmp_path: Path
) -> None:
    out, own = tmp_path / "run", {"name": "transformers", "pretrained": str(network), "image_size": 16, "epochs": 1}
    config = settings(
        classifier=own,
        baselines=["centralized", "fedavg"],
        rounds={"count": 1, "local_epochs": 1},
        features={"name": "image-model", "model": str(network)},
        evaluation={"quality": True, "real": "test"},
    )
    fgl.run(config, out=out)
    assert {state.partition(":")[0] for state in states(out).values()} == {"done"}
    first = (out / "classifier" / "model.safetensors").read_bytes()
    replace(network)
    found = states(out)
    stale = {stage for stage, state in found.items() if state.startswith("stale")}
    assert {"train", "evaluate", "rounds", "export", "baseline:centralized", "baseline:fedavg"} <= stale
    assert any(stage.startswith("quality:") for stage in stale)
    assert "classifier_weights" in found["train"]
    assert "synthesize" not in stale
    result = fgl.run(config, out=out)
    assert {"train", "evaluate", "export"}.isdisjoint(result["reused_stages"])
    assert (out / "classifier" / "model.safetensors").read_bytes() != first


def test_a_model_that_was_trained_again_to_other_weights_is_tested_again(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    # As another number of threads would: equal inputs, other weights.
    state = load_file(out / "train" / "selected.safetensors")
    for which in ("selected", "last"):
        path = out / "train" / f"{which}.safetensors"
        save_file({name: np.array(array + np.asarray(1e-3, array.dtype)) for name, array in state.items()}, path)
    run = RunDir(out)
    recorded = run.recorded("train")
    assert recorded is not None
    outputs = [out / name for name in recorded["outputs"]]
    run.record("train", recorded["inputs"], outputs, recorded["seconds"], recorded["value"])
    found = states(out)
    assert found["train"].startswith("done")
    assert found["evaluate"].startswith("stale")
    assert found["export"].startswith("stale")
    result = fgl.run(settings(), out=out)
    assert "train" in result["reused_stages"]
    assert {"evaluate", "export"}.isdisjoint(result["reused_stages"])
    assert {state.partition(":")[0] for state in states(out).values()} == {"done"}


def test_contents_count_and_not_names_times_or_the_model_card(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "README.md", "inner/other.bin"):
        (folder / name).write_bytes(b"one")
    patterns = ("*.safetensors", "config.json", "README.md")
    first, whole = contents(folder, patterns), contents(folder, ("*",))
    (folder / "README.md").write_bytes(b"two")
    (folder / "inner" / "other.bin").write_bytes(b"two")
    assert contents(folder, patterns) == first
    assert contents(folder, ("*",)) != whole
    (folder / "model.safetensors").write_bytes(b"two")
    assert contents(folder, patterns) != first


def test_with_few_validation_images_the_last_epoch_counts_and_report_and_log_say_so(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = {"images_per_class": 20}
    with caplog.at_level(logging.WARNING):
        result = fgl.run(settings(synthesis=few), out=tmp_path / "run")
    # 10 % of 20 are 2 a class
    assert result["synthetic"]["validation"] == 0
    assert result["synthetic"]["training"] == 60
    assert result["result"]["selected"] == result["result"]["last"]
    assert "No epoch is selected" in caplog.text
    report = (tmp_path / "run" / "report.md").read_text()
    assert "No epoch is selected, the last one counts: 10% of 60 synthetic images" in report
    result = fgl.run(settings(synthesis={**few, "validation_per_class": 2}), out=tmp_path / "run")
    assert result["synthetic"]["validation"] == 6
    assert result["synthetic"]["unselected"] is None
    assert "validation_top1" in result["history"][0]
