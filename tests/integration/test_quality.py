"""Quality of a synthetic set, tests at clients and probes, through the whole path on small real classes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import fgl
from fgl.contracts.boundary import simulated
from fgl.contracts.progress import NullProgress
from fgl.core.client import evaluation as client_evaluation
from fgl.core.client import probe as client_probe
from fgl.core.config.saved import load_config, saved_config
from fgl.core.data import decode_for
from fgl.core.experiments.probe import probe
from fgl.core.orchestrator import reopen
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.stages import features as features_stage
from fgl.core.stages import quality
from fgl.core.stages import train as train_stage
from fgl.core.status import stages
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import to_json
from fgl.core.wire import requests
from fgl.errors import ConfigError, DataError, ModelError, StoreError
from tests.conftest import CLASSES, changed
from tests.helpers.image_models import save_image_model

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    def make(**changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "dataset": str(images(**changes.pop("data", {}))),
            "partition": {"name": "iid", "clients": 2},
            "generator": {
                "name": "stable-diffusion",
                "model": str(pipeline),
                "num_inference_steps": 1,
                "dtype": "fp32",
                "guidance_scale": 1.0,
            },
            "synthesis": {"images_per_class": 6, "shard_size": 9},
            "classifier": {"name": "small", "epochs": 1, "image_size": 32},
            "features": {"name": "pixels", "size": 2},
            "baselines": "none",
        }
        return changed(base, changes)

    return make


def opened(settings: dict[str, Any], folder: Path, apart: bool = False) -> Any:
    manager = PluginManager.load()
    return open_session(load_config(settings, manager), manager, RunDir(folder), NullProgress(), remote_clients=apart)


def test_a_run_says_nothing_of_quality_unless_it_is_asked(settings: Settings, tmp_path: Path) -> None:
    result = fgl.run(settings(), out=tmp_path / "run")
    assert result["quality"] is None
    assert result["at_clients"] is None
    assert not (tmp_path / "run" / "quality").exists()
    assert "Quality" not in (tmp_path / "run" / "report.md").read_text()


def test_a_run_that_is_asked_measures_its_set_and_tests_at_the_clients(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = settings(evaluation={"quality": True, "at_clients": True, "per_class": True, "min_images": 5})
    result = fgl.run(asked, out=out)
    found = result["quality"]
    # 24 images a class, 20 of them for training: 6 held out, as many as there are synthetic ones, 14 for reference
    train = result["partition"]["samples"]
    held = [sum(counts) for counts in zip(*train.values(), strict=True)]
    assert found["counts"] == {"synthetic": 18, "compared": 18, "held_out": 18, "reference": sum(held) - 18}
    assert set(found["per_class"]) == set(CLASSES)
    assert found["space"]["name"] == "pixels"
    assert found["real"] == "train"
    for figures in (found["overall"]["synthetic"], found["overall"]["held_out"]):
        assert 0 <= figures["coverage"] <= 1
        assert figures["kid"] is not None
        assert (figures["fid"] is None) == ("fid" in figures["why"])
    # pictures of random weights are no noise pictures, and other noise pictures are
    assert found["overall"]["synthetic"]["coverage"] < found["overall"]["held_out"]["coverage"]
    assert found["nearest"]["synthetic"]["median"] > found["nearest"]["held_out"]["median"]
    rows = list(csv.DictReader((out / found["distances"]).open(encoding="utf-8")))
    assert len({row["image_id"] for row in rows}) == 18
    text = (out / "report.md").read_text()
    for said in (
        "## Quality of the synthetic set",
        "mean colours on a grid",
        "## Tested at the clients",
        "held-out real",
    ):
        assert said in text
    assert json.loads((out / "report.json").read_text())["quality"] == json.loads(json.dumps(found))
    assert json.loads((out / "quality" / "pixels.json").read_text()) == json.loads(json.dumps(found))

    tested = result["at_clients"]
    session = reopen(out, NullProgress())
    state = load_file(out / "train" / "selected.safetensors")
    model = session.classifier.restore(state, train_stage.context(session, "again"))
    pooled = decode_for(session.split("train"), session.preparation, NullProgress(), "decode")
    right = model.predict(pooled.pixels, "last", NullProgress()) == pooled.labels
    assert (tested["right"], tested["total"]) == (int(right.sum()), len(pooled)), (
        "clients count what pooled data counts"
    )
    assert tested["total"] == tested["stands_for"] == sum(held)
    assert sum(one["total"] for one in tested["per_class"].values()) <= tested["total"]
    assert tested["bytes"]["up"] < 1000 < tested["bytes"]["down"]

    states = {one.stage: one.state for one in stages(session)}
    assert states["quality:pixels"] == states["evaluate:clients"] == "done"
    again = fgl.run(asked_again(asked, evaluation={**asked["evaluation"], "real": "test"}), out=out)
    assert again["quality"]["real"] == "test"
    assert "evaluate:clients" in again["reused_stages"]
    assert again["quality"]["distances"] == "quality/pixels-test.csv"
    assert (out / "quality" / "pixels.csv").exists()


def asked_again(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**asked, **changes}


def test_a_space_that_learns_does_not_measure_what_it_learnt_on(settings: Settings, tmp_path: Path) -> None:
    asked = settings(features={"name": "trained", "epochs": 1}, evaluation={"quality": True})
    asked["features"].pop("size")
    out = tmp_path / "run"
    found = fgl.run(asked, out=out)["quality"]
    assert "half of what the clients hold" in found["space"]["learnt_on"]
    assert len(found["space"]["digest"]) == 64
    session = reopen(out, NullProgress())
    learnt = features_stage.learning(session, "train")
    assert learnt.left is not None
    with (out / found["distances"]).open(encoding="utf-8") as file:
        nearest = {int(row["nearest_in_train"]) for row in csv.DictReader(file)}
    assert nearest <= set(learnt.left.tolist())
    assert not nearest & set(learnt.rows.tolist())
    # to be measured on images of another split, it may learn on all of these
    assert features_stage.learning(session, "test").left is None


def test_the_synthetic_set_of_copies_is_found_out(settings: Settings, tmp_path: Path) -> None:
    session = opened(settings(evaluation={"quality": True}), tmp_path / "run")
    real = session.pixels("train")
    space = session.manager.create("features", session.config.features).extractor({}, session.classifier, None)
    figures, (distances, positions) = quality.compare(session, space, None, real, "", "")
    found = to_json(figures)
    held = found["overall"]["held_out"]
    assert found["overall"]["synthetic"]["coverage"] >= held["coverage"]
    assert found["nearest"]["closer"] > 0.3, "most of the images are those of the reference"
    assert 0 < found["nearest"]["closer_held_out"] < 0.2
    copies = distances == 0
    assert (real.pixels[positions[copies]] == real.pixels[copies]).all()


def test_classes_without_images_are_named_and_the_others_measured(settings: Settings, tmp_path: Path) -> None:
    asked = settings(data={"per_class": 3}, evaluation={"quality": True})
    session = opened(asked, tmp_path / "run")
    real = session.pixels("train")
    only = real.labels == 1
    made = type(real)(real.pixels[only], real.labels[only])
    space = session.manager.create("features", session.config.features).extractor({}, session.classifier, None)
    figures, _ = quality.compare(session, space, None, made, "", "")
    found = to_json(figures)
    assert "0 synthetic" in found["per_class"][session.info.class_names[0]]["why"]
    assert "why" not in found["per_class"][session.info.class_names[1]]


@pytest.mark.parametrize("features", ["pixels", "trained"])
def test_one_image_a_class_is_nothing_to_compare_and_said_before_anything_is_computed(
    settings: Settings, tmp_path: Path, features: str
) -> None:
    # one of two goes into the test split
    asked = settings(data={"per_class": 2}, evaluation={"quality": True})
    with pytest.raises(DataError, match="no class has two real images to compare with"):
        opened({**asked, "features": features}, tmp_path / "run")


def test_a_model_of_the_folder_measures_too_and_is_named(settings: Settings, tmp_path: Path) -> None:
    folder = save_image_model(tmp_path / "model")
    asked = settings(features={"name": "image-model", "model": str(folder)}, evaluation={"quality": True})
    asked["features"].pop("size")
    found = fgl.run(asked, out=tmp_path / "run")["quality"]
    assert found["space"]["model"] == str(folder)
    assert found["space"]["commit"] is None
    assert len(found["space"]["digest"]) == 64
    assert found["space"]["dimensions"] == 16


def test_a_model_that_is_not_there_is_said_before_anything_is_computed(settings: Settings, tmp_path: Path) -> None:
    asked = settings(evaluation={"quality": True})
    asked["features"] = {"name": "image-model", "model": str(tmp_path / "nowhere")}
    with pytest.raises(ModelError, match="is neither a folder nor a Hub id"):
        fgl.run(asked, out=tmp_path / "run")
    assert not (tmp_path / "run" / "server").exists()


def test_a_server_whose_clients_are_elsewhere_cannot_compare_with_their_images(
    settings: Settings, tmp_path: Path
) -> None:
    asked = settings(evaluation={"quality": True}, upload={"clients": ["north", "south"]})
    with pytest.raises(ConfigError, match="no real images of theirs"):
        opened(asked, tmp_path / "run", apart=True)
    # with images of its own it can
    here = asked_again(asked, evaluation={"quality": True, "real": "test"})
    opened(here, tmp_path / "run", apart=True)
    learns = asked_again(here, features={"name": "trained"})
    with pytest.raises(ConfigError, match="no real images to train one on"):
        opened(learns, tmp_path / "run", apart=True)
    asking = asked_again(asked, evaluation={"at_clients": True})
    with pytest.raises(ConfigError, match=r"evaluation\.at_clients"):
        opened(asking, tmp_path / "run", apart=True)


def test_quality_of_a_folder_without_a_set_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="complete the run first"):
        quality.measure_run(opened(settings(evaluation={"quality": True}), tmp_path / "run"))


# --- at the clients -------------------------------------------------------------------------------------------------


def test_what_leaves_a_client_is_counts_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    evaluation = {"at_clients": True, "per_class": True, "min_images": 10_000}
    session = opened({**saved_config(RunDir(out), PluginManager.load()).to_dict(), "evaluation": evaluation}, out)
    state = load_file(out / "train" / "selected.safetensors")
    how = session.preparation.inputs()
    asked = requests.task_request(session.config, "client-00", "cpu", session.info.digest, state, prepare=how)
    with simulated():
        said = json.loads(client_evaluation.evaluate(asked))
    assert set(said) == {"client_id", "right", "total", "per_class"}
    assert said["per_class"] == {}, "no class has that many images"


def test_a_client_that_fails_or_lies_is_named_and_the_others_count(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = client_evaluation.evaluate

    def evaluate(payload: bytes) -> bytes:
        said = json.loads(honest(payload))
        if said["client_id"] == "client-00":
            said["right"] = said["total"] = 10**9
        if said["client_id"] == "client-01":
            raise RuntimeError("no power")
        return json.dumps(said).encode()

    monkeypatch.setattr(client_evaluation, "evaluate", evaluate)
    out = tmp_path / "run"
    asked = settings(partition={"clients": 3}, evaluation={"at_clients": True})
    found = fgl.run(asked, out=out)["at_clients"]
    assert set(found["per_client"]) == {"client-02"}
    assert found["refused"]["client-00"]["rule"] == "value"
    assert found["refused"]["client-01"]["rule"] == "answer"
    text = (out / "report.md").read_text()
    assert "RuntimeError at the client" in text
    assert "no power" not in text, "what a client's error says may name its files"
    assert "no power" in (out / "clients" / "client-01" / "private" / "error.txt").read_text()


def test_after_rounds_the_clients_test_the_model_that_the_rounds_gave(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = fgl.run(settings(rounds={"count": 1, "local_epochs": 1}, evaluation={"at_clients": True}), out=out)
    session = reopen(out, NullProgress())
    state = load_file(out / "rounds" / "own" / "model.safetensors")
    model = session.classifier.restore(state, train_stage.context(session, "again"))
    pooled = decode_for(session.split("train"), session.preparation, NullProgress(), "decode")
    right = model.predict(pooled.pixels, "last", NullProgress()) == pooled.labels
    assert found["at_clients"]["right"] == int(right.sum())
    assert {one.stage: one.state for one in stages(session)}["evaluate:clients"] == "done"


# --- probes ---------------------------------------------------------------------------------------------------------


def test_a_probe_gathers_scores_and_writes_nothing(settings: Settings, tmp_path: Path) -> None:
    session = opened(settings(evaluation={"min_images": 2}), tmp_path / "run")
    found = to_json(probe(session, 4))
    assert found["pictures"] == {"per_class": 4, "classes": 3, "images": 12}
    assert set(found["clients"]) == {"client-00", "client-01"}
    # 20 training images of each of 3 classes at 2 clients: at most 4 of a class are looked at
    assert 18 <= found["all"]["reference"] == found["all"]["compared"] <= 24
    assert found["all"]["made"]["coverage"] < found["all"]["real"]["coverage"]
    assert found["all"]["made"]["nearest"] > found["all"]["real"]["nearest"]
    assert set(found["all"]["per_class"]) == set(CLASSES)
    assert found["chance"] == pytest.approx(1 / 3)
    assert not (tmp_path / "run").exists()
    assert found["bytes"]["up"] < 4000
    again = to_json(probe(opened(settings_of(session), tmp_path / "run"), 4))
    assert again["clients"] == found["clients"]


def settings_of(session: Any) -> dict[str, Any]:
    return dict(session.config.to_dict())


def test_real_pictures_score_as_real_images_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a perfect generator would score: the figure that stands beside."""
    session = opened(settings(), tmp_path / "run")
    real = session.pixels("test")
    order = np.argsort(real.labels, kind="stable")
    monkeypatch.setattr("fgl.core.experiments.probe.pictures", lambda *_: (real.labels[order], real.pixels[order]))
    found = to_json(probe(session, 4))["all"]
    assert found["made"]["nearest"] == pytest.approx(found["real"]["nearest"], rel=0.25)
    assert found["recognized"] == 1, "the classes of these images differ in brightness"
    assert found["made"]["agreement"] == found["real"]["agreement"] == 1


def test_what_goes_wrong_at_a_client_of_a_probe_stays_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = client_probe.probe

    def failing(payload: bytes) -> bytes:
        said = honest(payload)
        if json.loads(said)["client_id"] == "client-00":
            raise DataError("cannot read ward-7/patient-0001.png")
        return said

    monkeypatch.setattr(client_probe, "probe", failing)
    found = to_json(probe(opened(settings(), tmp_path / "run"), 2))
    assert set(found["clients"]) == {"client-01"}
    assert "DataError at the client" in found["refused"]["client-00"]["reason"]
    assert "patient" not in json.dumps(found)


def test_scores_of_a_class_leave_a_client_only_where_it_has_enough_images(settings: Settings, tmp_path: Path) -> None:
    session = opened(settings(evaluation={"min_images": 5}), tmp_path / "run")
    assert all(one.per_class == {} for one in probe(session, 4).clients.values())


def test_a_client_that_holds_one_image_is_left_out_of_a_probe(settings: Settings, tmp_path: Path) -> None:
    session = opened(settings(partition={"clients": 30}), tmp_path / "run")
    labels = session.split("train").labels
    divided = session.manager.create("partition", session.config.partition).partition(labels, None, 0)
    found = to_json(probe(session, 2))
    alone = {name for name, rows in divided.items() if rows and np.bincount(labels[rows]).max() < 2}
    assert alone
    assert set(found["refused"]) == alone
    assert all("two images" in one["reason"] for one in found["refused"].values())


def test_a_probe_where_nobody_has_two_images_of_a_class_says_so(settings: Settings, tmp_path: Path) -> None:
    session = opened(settings(data={"per_class": 2}, partition={"clients": 3}), tmp_path / "run")
    with pytest.raises(DataError, match="two images"):
        probe(session, 2)


def test_a_space_that_learnt_on_the_clients_images_judges_others(settings: Settings, tmp_path: Path) -> None:
    asked = settings(features={"name": "trained", "epochs": 1})
    asked["features"].pop("size")
    session = opened(asked, tmp_path / "run")
    found = to_json(probe(session, 50, pool_clients=True))
    assert "half of what the clients hold" in found["space"]["learnt_on"]
    # of 20 a class, 10 are learnt on; of the other 10, at two clients, half are reference and half beside them
    assert found["all"]["reference"] <= len(session.pixels("train")) // 4


def test_a_probe_tells_a_domain_that_the_generator_knows_from_one_that_it_does_not(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    draw = np.random.default_rng(0)
    for name in ("annual crop", "forest", "river"):
        (noise / name).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(noise / name / f"{number}.png")
    ratios = {}
    for name, dataset in (("known", "bundled:eurosat"), ("noise", str(noise))):
        asked = {
            "dataset": dataset,
            "partition": {"name": "iid", "clients": 1},
            "features": {"name": "pixels", "size": 4},
            "generator": {"name": "tiny", "num_inference_steps": 4},
            "baselines": "none",
        }
        found = to_json(probe(opened(asked, tmp_path / "run"), 5))["all"]
        ratios[name] = found["made"]["nearest"] / found["real"]["nearest"]
    assert ratios["known"] < 1.5
    assert ratios["noise"] > 2


def test_images_of_a_client_that_was_taken_out_are_no_longer_compared_with(settings: Settings, tmp_path: Path) -> None:
    from fgl.core.orchestrator import execute
    from fgl.core.server import forget

    out = tmp_path / "run"
    asked = settings(partition={"clients": 3}, evaluation={"quality": True, "at_clients": True})
    before = fgl.run(asked, out=out)
    session = reopen(out, NullProgress())
    names = [f"client-{k:02d}" for k in range(3)]
    forget.forget(session, names, "client-01")
    after = execute(session).to_dict()
    gone = set(json.loads((out / "partition.json").read_text())["client-01"])
    assert gone
    with (out / after["quality"]["distances"]).open(encoding="utf-8") as file:
        assert not {int(row["nearest_in_train"]) for row in csv.DictReader(file)} & gone
    count = lambda found: found["quality"]["counts"]["reference"] + found["quality"]["counts"]["held_out"]  # noqa: E731
    assert count(before) - count(after) == len(gone)
    assert set(after["at_clients"]["per_client"]) == {"client-00", "client-02"}
