"""Clients adapt the generator in rounds, and the run synthesizes with what they made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fgl
from fgl.contracts.generator import Shard
from fgl.core import orchestrator, status
from fgl.core.client import adapting
from fgl.core.server import forget
from fgl.core.server.uploads import opened
from fgl.core.synthesis.shards import read_plan, read_shards
from fgl.core.wire import updates
from fgl.errors import ConfigError, DataError
from fgl.plugins.generators.denoiser import DiffusionDenoiser
from fgl.plugins.generators.options import LORA_FILE
from tests.helpers.settings import small


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
        asked = {"rank": 2, "batch_size": 8, "local_steps": 2, "rounds": 2, "lr": 0.05, **adaptation}
        return {**small(root, pipeline, synthesis={"images_per_class": 2}), "adaptation": asked}

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
    # that state is for more rounds: what of it is damaged is named, and the result stands
    state = tmp_path / "more" / "rounds" / "adapter" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    (damaged,) = (one for one in status.stages(orchestrator.reopen(tmp_path / "more", _Quiet())) if one.state != "done")
    assert (damaged.state, "rounds/adapter/state.safetensors" in damaged.why) == ("damaged", True)


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


def test_each_clients_images_are_made_with_its_own_adapter(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = config(adapters="per-client", rounds=1)
    result = fgl.run(given, tmp_path / "run", progress=False)
    places = result["adaptation"]["per_client"]
    assert sorted(places) == ["client-00", "client-01"]
    session = orchestrator.reopen(tmp_path / "run", _Quiet())
    shards = read_plan(session.run.plan_file)
    items = [item for shard in shards for item in shard.items]
    classes = len(session.info.class_names)
    # both clients have every class, and ask for it in the same words: their rows are two all the same
    assert len({item.conditioning_id for item in items}) == 2 * classes
    # the first half of the plan is one client's
    half = [item.conditioning_id for item in items[: len(items) // 2]]
    assert set(half).isdisjoint(item.conditioning_id for item in items[len(items) // 2 :])
    kept = {row["image_id"]: rgb for row, rgb in read_shards(session.run.shards, shards)}
    uploads = {upload.client_id: upload for upload in opened(session, sorted(places))}
    painted = 0
    for client, place in places.items():
        options = {key: value for key, value in given["generator"].items() if key != "name"}
        generator = fgl.create("generator", "stable-diffusion", **options, lora=str(tmp_path / "run" / place))
        conditioning = fgl.create("aggregator", "union").aggregate([uploads[client]], generator.fingerprint())
        own = {row: position for position, row in enumerate(conditioning.ids)}
        mine = [replace(item, conditioning=own[item.conditioning_id]) for item in items if item.conditioning_id in own]
        batches = generator.synthesizer("cpu").synthesize(Shard(0, tuple(mine)), conditioning, lambda done: None)
        pixels = np.concatenate([batch.pixels for batch in batches])
        for item, image in zip(mine, pixels, strict=True):
            assert np.array_equal(kept[item.image_id], image)
            painted += 1
    assert painted == len(items)
    assert "its own adapter" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_adapters_are_averaged_before_they_part(config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    fgl.run(config(rounds=1), tmp_path / "run", progress=False)
    shared = fgl.resume(tmp_path / "run", progress=False)
    parted = fgl.run(config(rounds=2, adapters="per-client"), tmp_path / "parted", progress=False)
    folders = [tmp_path / "run" / shared["adaptation"]["place"], tmp_path / "parted" / parted["adaptation"]["place"]]
    assert len({(folder / LORA_FILE).read_bytes() for folder in folders}) == 1  # what the second round started from
    # with another number of rounds, another one is the last: nothing is resumed
    one = fgl.run(config(rounds=1, adapters="per-client"), tmp_path / "parted", progress=False)
    assert one.digest != parted.digest
    alone = fgl.run(config(rounds=1, adapters="per-client"), tmp_path / "alone", progress=False)
    assert one.digest == alone.digest


def test_a_client_that_fails_in_the_last_round_has_its_images_made_with_what_was_shared(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = adapting.adapt

    def fails(asked: Any, message: memoryview) -> bytes:
        if asked["client_id"] == "client-01":
            raise DataError("its disk is full")
        return honest(asked, message)

    monkeypatch.setattr(adapting, "adapt", fails)
    result = fgl.run(config(rounds=1, adapters="per-client"), tmp_path / "run", progress=False)
    assert sorted(result["adaptation"]["per_client"]) == ["client-00"]
    assert result["synthetic"]["images"] == 2 * 3  # of each class, whoever asked for them


def test_what_a_client_that_is_taken_out_has_trained_goes_at_once(
    config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first = fgl.run(config(rounds=1, adapters="per-client"), tmp_path / "run", progress=False)
    place = tmp_path / "run" / first["adaptation"]["per_client"]["client-01"]
    assert (place / LORA_FILE).exists()
    session = orchestrator.reopen(tmp_path / "run", _Quiet())
    with session.run.lock():
        forget.forget(session, ["client-00", "client-01"], "client-01")
    assert not list((tmp_path / "run").glob("adaptation/**/*.safetensors"))
    assert not list((tmp_path / "run").glob("rounds/adapter/*"))
    again = fgl.resume(tmp_path / "run", progress=False)
    assert sorted(again["adaptation"]["per_client"]) == ["client-00"]
    assert not place.exists()


def test_a_killed_round_asks_no_client_to_train_again(
    config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(rounds=1, adapters="per-client")
    whole = fgl.run(given, tmp_path / "whole", progress=False)
    honest, steps = DiffusionDenoiser.loss, []

    def counted(self: Any, *args: Any, **rest: Any) -> Any:
        steps.append(1)
        return honest(self, *args, **rest)

    def dies(reply: bytes, expected: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(DiffusionDenoiser, "loss", counted)
    with monkeypatch.context() as killed:
        killed.setattr(updates, "accept", dies)
        with pytest.raises(KeyboardInterrupt):
            fgl.run(given, tmp_path / "killed", progress=False)
    trained = len(steps)
    assert trained >= 2
    adapting.release()
    result = fgl.resume(tmp_path / "killed", progress=False)
    assert result.digest == whole.digest
    assert len(steps) == 4  # two steps of each client, whichever of them had been killed


class _Quiet(fgl.NullProgress):
    pass
