"""Images that the safety checker blanks are drawn again in their slot, through the whole run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import fgl
from fgl.core.orchestrator import digest
from fgl.core.seeds import image_seed
from fgl.errors import ModelError
from tests.helpers.pipelines import save_safety_checker


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> dict[str, Any]:
    return {
        "dataset": str(images()),
        "partition": {"name": "iid", "clients": 2},
        "generator": {
            "name": "stable-diffusion",
            "model": str(pipeline),
            "num_inference_steps": 2,
            "dtype": "fp32",
            "batch_size": 4,
        },
        "synthesis": {"images_per_class": 6, "shard_size": 5},
        "classifier": {"name": "small", "epochs": 1, "image_size": 32},
        "baselines": "none",
    }


def with_checker(settings: dict[str, Any], folder: Path, strictness: float) -> dict[str, Any]:
    safe = save_safety_checker(folder, strictness=strictness)
    return {**settings, "generator": {**settings["generator"], "safety_checker": str(safe)}}


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    shards = sorted((out / "server/shards").glob("*.parquet"))
    return {row["image_id"]: row for shard in shards for row in pq.read_table(shard).to_pylist()}


def test_blanked_images_are_drawn_again_in_their_slot_and_counted(settings: dict[str, Any], tmp_path: Path) -> None:
    plain = fgl.run(settings, out=tmp_path / "plain")
    assert plain["synthetic"]["redrawn"] == 0
    low, high, result = 0.3, 1.0, plain  # near what these weights need, so that the first attempts will do
    for attempt in range(12):  # until a checker of random weights blanks some images and not all of a slot's draws
        middle = (low + high) / 2
        out = tmp_path / f"run-{attempt}"
        try:
            result = fgl.run(with_checker(settings, tmp_path / "safe", middle), out=out)
        except ModelError:
            low = middle
            continue
        if result["synthetic"]["redrawn"]:
            break
        high = middle
    found = rows_of(out)
    again = {name for name, row in found.items() if row["draw"] > 0}
    assert 0 < len(again) == result["synthetic"]["redrawn"]
    planned = pq.read_table(out / "server/plan.parquet").column("image_id").to_pylist()
    assert list(found) == planned, "the slots are those of the plan"
    for name, row in found.items():
        assert row["seed"] == image_seed(0, name, row["draw"])
    assert f"{len(again)} images were blanked by the safety checker and drawn again" in (out / "report.md").read_text()
    assert digest(out) == result["synthetic"]["digest"] != plain["synthetic"]["digest"]
    (sorted((out / "server/shards").glob("*.parquet"))[1]).unlink()
    repaired = fgl.run(with_checker(settings, tmp_path / "safe", middle), out=out)
    assert repaired["synthetic"]["digest"] == result["synthetic"]["digest"]
    assert repaired["synthetic"]["redrawn"] == len(again)
    # in other shards they are the same pictures, and none is drawn again
    settings["synthesis"]["shard_size"] = 4
    moved = fgl.run(with_checker(settings, tmp_path / "safe", middle), out=out)["synthetic"]
    assert (moved["digest"], moved["redrawn"], moved["reused"]) == (
        result["synthetic"]["digest"],
        len(again),
        result["synthetic"]["images"],
    )
    # more of them are those of a fresh run
    settings["synthesis"]["images_per_class"] = 7
    more = fgl.run(with_checker(settings, tmp_path / "safe", middle), out=out)["synthetic"]
    fresh = fgl.run(with_checker(settings, tmp_path / "safe", middle), out=tmp_path / "fresh")["synthetic"]
    assert more["reused"] > 0
    assert (more["digest"], more["redrawn"]) == (fresh["digest"], fresh["redrawn"])


def test_a_class_whose_images_are_always_blanked_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"images of an \"awkward\" name, river, 林地 were blanked .* in each of 20 draws"
    ):
        # one shard, so that all three classes are in it
        fgl.run(
            {**with_checker(settings, tmp_path / "safe", -2.0), "synthesis": {"images_per_class": 2}},
            out=tmp_path / "run",
        )
