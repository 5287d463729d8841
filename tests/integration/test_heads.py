"""Heads on features, end to end: no image is made, and everything around a run works as it does with images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fgl
from fgl.contracts.progress import NullProgress
from fgl.core import status
from fgl.core.orchestrator import digest, reopen
from fgl.core.partitioning import divide
from fgl.core.synthesis.shards import read_shards
from fgl.errors import ConfigError, UploadError
from fgl.plugins.generators.class_gaussians import GaussianSynthesizer
from tests.conftest import changed
from tests.helpers.cli import checked

SPACE = {"space": "random-filters", "space_options": {"filters": 6}}


def heads(data: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a run of a head on `data`."""
    base: dict[str, Any] = {
        "dataset": str(data),
        "partition": {"name": "iid", "clients": 2},
        "classifier": {"name": "analytic"},
        "generator": dict(SPACE),
    }
    return changed(base, changes)


FEDPFT = {"classifier": {"name": "linear", "epochs": 2}, "synthesis": {"images_per_class": 8, "shard_size": 10}}


def weights(out: Path) -> dict[str, np.ndarray]:
    return dict(load_file(out / "train" / "last.safetensors"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    return checked(monkeypatch, capsys)


# --- the analytic head is the pooled solution


@pytest.mark.parametrize(
    "partition",
    [
        {"name": "dirichlet", "clients": 5, "beta": 0.05, "min_samples": 1},
        {"clients": 2},
        {"clients": 1},
    ],
    ids=["skewed", "iid", "one client"],
)
def test_the_analytic_head_is_the_ridge_regression_of_the_pooled_features_whatever_the_split(
    partition: dict[str, Any], images: Callable[..., Path], tmp_path: Path
) -> None:
    """Solved independently: least squares in float64, with the penalty as rows below centered features."""
    data, ridge = images(per_class=20), 1e-3
    fgl.run(heads(data, partition=partition, classifier={"ridge": ridge}), out=tmp_path / "run")
    pooled = reopen(tmp_path / "run", NullProgress()).inputs("train")
    assert_ridge(tmp_path / "run", pooled.values, pooled.labels, ridge)


def assert_ridge(out: Path, values: np.ndarray, labels: np.ndarray, ridge: float) -> None:
    """The head of a run is the ridge regression of these features of three classes, to 1e-5 of its largest weight."""
    features, targets = values.astype(np.float64), np.eye(3)[labels]
    mean, average = features.mean(axis=0), targets.mean(axis=0)
    centered, width = features - mean, features.shape[1]
    penalty = ridge * np.trace(centered.T @ centered) / width
    rows = np.vstack([centered, np.sqrt(penalty) * np.eye(width)])
    solved = np.linalg.lstsq(rows, np.vstack([targets - average, np.zeros((width, 3))]), rcond=None)[0]
    found, bias = weights(out), average - mean @ solved
    assert np.abs(found["weight"] - solved.T).max() < 1e-5 * np.abs(solved).max()
    assert np.abs(found["bias"] - bias).max() < 1e-5 * max(1.0, np.abs(bias).max())


def test_a_client_that_is_taken_out_leaves_the_head_of_the_others(
    images: Callable[..., Path], tmp_path: Path, command: Callable[..., str]
) -> None:
    out = tmp_path / "run"
    fgl.run(heads(images(per_class=20), partition={"clients": 3}), out=out)
    command("server", "forget", out, "--client", "client-01", "--quiet")
    fgl.resume(out)
    session = reopen(out, NullProgress())
    divided = divide(session.manager, session.config, session.split("train"))
    left = sorted(row for name, rows in divided.items() if name != "client-01" for row in rows)
    pooled = session.inputs("train")
    assert_ridge(out, pooled.values[left], pooled.labels[left], 1e-3)


@pytest.mark.parametrize("head", ["analytic", "gaussian"])
def test_a_closed_form_head_equals_its_own_centralized_baseline(
    head: str, images: Callable[..., Path], tmp_path: Path
) -> None:
    config = heads(images(per_class=16), classifier={"name": head}, baselines=["centralized"])
    result = fgl.run(config, out=tmp_path / "run")
    (centralized,) = result["baselines"]
    assert centralized["top1"] == result["result"]["selected"]["top1"]
    assert centralized["per_class"] == result["result"]["per_class"]


# --- a run without images


def test_a_head_is_chosen_by_one_name_and_sends_neither_texts_nor_images(
    images: Callable[..., Path], tmp_path: Path
) -> None:
    result = fgl.run({"dataset": str(images()), "partition": "iid", "classifier": "gaussian"}, out=tmp_path / "run")
    config = result["config"]
    assert (config["generator"]["name"], config["prompt_strategy"]["name"]) == ("moments", "moments")
    assert (config["upload"]["codec"], config["baselines"]) == ("fp32", [])
    assert result["synthetic"]["product"]["kind"] == "moments"
    assert not (tmp_path / "run" / "sheets").exists()
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "No synthetic images (moments)" in report
    assert "can be inverted to text" not in report
    head = json.loads((tmp_path / "run" / "classifier" / "config.json").read_text(encoding="utf-8"))
    assert list(head["id2label"].values()) == list(reopen(tmp_path / "run", NullProgress()).info.class_names)


def test_a_run_of_features_is_reused_its_digest_is_that_of_its_items_and_the_report_says_what_they_are(
    images: Callable[..., Path], tmp_path: Path
) -> None:
    config, out = heads(images(per_class=10), **FEDPFT), tmp_path / "run"
    first = fgl.run(config, out=out)
    assert first["synthetic"]["product"] == {"kind": "features", "shape": [27], "dtype": "float32", "synthesized": True}
    assert digest(out) == first["synthetic"]["digest"]
    items = list(read_shards(out / "server" / "shards"))
    assert len(items) == first["synthetic"]["images"] == 24
    assert all(value.shape == (27,) and value.dtype == np.float32 for _, value in items)
    again = fgl.run(config, out=out)
    assert {"synthesize", "train", "evaluate"} <= set(again["reused_stages"])
    assert {entry.state for entry in status.stages(reopen(out, NullProgress()))} == {"done"}


def test_features_move_with_the_plan_and_only_new_ones_are_drawn(images: Callable[..., Path], tmp_path: Path) -> None:
    data, out = images(per_class=10), tmp_path / "run"
    fgl.run(heads(data, **FEDPFT), out=out)
    before = {row["image_id"]: value.tobytes() for row, value in read_shards(out / "server" / "shards")}
    more = fgl.run(heads(data, **changed(FEDPFT, {"synthesis": {"images_per_class": 11, "shard_size": 7}})), out=out)
    after = {row["image_id"]: value.tobytes() for row, value in read_shards(out / "server" / "shards")}
    kept = before.keys() & after.keys()
    assert more["synthetic"]["reused"] == len(kept) > 0
    assert all(after[name] == before[name] for name in kept)


def test_an_interrupted_run_of_features_resumes_to_the_same_set_and_head(
    images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = heads(images(per_class=8), **FEDPFT)
    whole = fgl.run(config, out=tmp_path / "whole")
    draw, drawn = GaussianSynthesizer._draw, list[int]()

    def interrupted(self: GaussianSynthesizer, mean: Any, spread: Any, seed: int) -> Any:
        drawn.append(seed)
        if len(drawn) > 15:
            raise KeyboardInterrupt
        return draw(self, mean, spread, seed)

    monkeypatch.setattr(GaussianSynthesizer, "_draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fgl.run(config, out=tmp_path / "stopped")
    monkeypatch.undo()
    resumed = fgl.resume(tmp_path / "stopped")
    assert resumed["synthetic"]["digest"] == whole["synthetic"]["digest"]
    for name, array in weights(tmp_path / "whole").items():
        np.testing.assert_array_equal(array, weights(tmp_path / "stopped")[name])


def test_a_head_that_trains_takes_part_in_rounds_and_is_tested_at_clients(
    images: Callable[..., Path], tmp_path: Path
) -> None:
    config = heads(
        images(per_class=12),
        **FEDPFT,
        rounds={"count": 1, "local_epochs": 1},
        baselines=["fedavg", "local", "centralized"],
        evaluation={"at_clients": True},
    )
    result = fgl.run(config, out=tmp_path / "run")
    assert {row["name"] for row in result["baselines"]} == {"fedavg", "local", "centralized"}
    assert len(result["rounds"]["rounds"]) == 1
    assert result["at_clients"]["total"] == sum(map(sum, result["partition"]["samples"].values()))


# --- clients on other machines


def test_clients_elsewhere_give_the_head_of_the_simulation(
    command: Callable[..., str], images: Callable[..., Path], tmp_path: Path
) -> None:
    data = images(per_class=12)
    settings = heads(data)
    alone = fgl.run(settings, out=tmp_path / "alone")
    shared, out = tmp_path / "shared.yaml", tmp_path / "apart"
    shared.write_text(json.dumps(alone["config"]), encoding="utf-8")
    for client in ("client-00", "client-01"):
        file = tmp_path / f"{client}.safetensors"
        private = tmp_path / "private" / client
        command("client", "prepare", shared, "--client", client, "--simulate", "--out", file, "--private", private)
        command("server", "ingest", out, file, "--config", shared)
    command("server", "run", out, "--quiet")
    for name, array in weights(tmp_path / "alone").items():
        np.testing.assert_array_equal(array, weights(out)[name])


def test_an_upload_of_other_features_is_rejected(
    command: Callable[..., str], images: Callable[..., Path], tmp_path: Path
) -> None:
    data = images(per_class=6)
    file, out = tmp_path / "upload.safetensors", tmp_path / "run"
    for name, seed in (("client", 1), ("server", 0)):
        options = {**SPACE, "space_options": {"filters": 6, "seed": seed}}
        config = heads(data, generator=options)
        (tmp_path / f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")
    places = ("--out", file, "--private", tmp_path / "private")
    command("client", "prepare", tmp_path / "client.yaml", "--client", "client-00", "--simulate", *places)
    code = UploadError.exit_code
    assert "encoder" in command("server", "ingest", out, file, "--config", tmp_path / "server.yaml", fails=code)


# --- what does not fit


def test_a_codec_that_would_round_moments_is_rejected(images: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"upload\.codec: got 'fp16'; expected fp32"):
        fgl.run(heads(images(per_class=4), upload={"codec": "fp16"}), out=tmp_path / "run")


def test_a_space_that_must_be_trained_is_rejected(images: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"generator\.space: got 'trained'"):
        fgl.run(heads(images(per_class=4), generator={"space": "trained", "space_options": {}}), out=tmp_path / "run")


# --- what it gives away


def test_membership_of_a_head_is_audited_and_what_needs_images_is_left_out(
    images: Callable[..., Path], tmp_path: Path
) -> None:
    fgl.run(heads(images(per_class=20)), out=tmp_path / "run")
    found = fgl.audit(tmp_path / "run", methods=["fgl"], shadows=8).data
    assert set(found["membership"]["methods"]) == {"fgl"}
    assert found["left_out"].keys() == {"memorization", "uploads"}
    assert "generator 'moments' yields moments, not images" in found["left_out"]["memorization"]
