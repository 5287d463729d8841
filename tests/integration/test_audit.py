"""What an audit measures, on real classes at small sizes: it finds the leaks that are there, and no others."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fgl
from fgl.contracts import prompts as contracts_prompts
from fgl.contracts.progress import NullProgress
from fgl.core.config.saved import load_config, saved_config
from fgl.core.orchestrator import reopen
from fgl.core.plugin_manager import PluginManager
from fgl.core.preflight import open_session
from fgl.core.privacy import audit, inversion, lira, lookup, memorization, shadows
from fgl.core.report import contact_sheet
from fgl.core.server import forget, uploads
from fgl.core.stages import features
from fgl.core.store.run_dir import RunDir
from fgl.core.store.typed import to_json
from fgl.errors import ConfigError, StoreError
from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.generators.synthesizer import DiffusionSynthesizer
from tests.conftest import CLASSES, changed
from tests.helpers import warm
from tests.helpers.settings import small

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(images: Callable[..., Path], pipeline: Path) -> Settings:
    folder = images(per_class=12)

    def make(**changes: Any) -> dict[str, Any]:
        base = small(
            folder,
            pipeline,
            prompt_strategy={"name": "class-name"},
            synthesis={"images_per_class": 6},
            classifier={"dtype": "fp32"},
            features={"name": "pixels", "size": 2},
            audit={"shadows": 4, "rounds": 1, "closest": 3, "candidates": 600},
            rounds={"local_epochs": 1},
        )
        return changed(base, changes)

    return make


def audited(folder: Path, **options: Any) -> dict[str, Any]:
    """`fgl audit`, from Python."""
    manager = PluginManager.load()
    saved = saved_config(RunDir(folder), manager)
    asked = {**saved.to_dict(), "audit": {**saved.audit.model_dump(), **options}}
    session = open_session(load_config(asked, manager), manager, RunDir(folder), NullProgress())
    with session.run.lock():
        return to_json(audit.run(session, saved))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the fits from here on."""
    fits: list[str] = []
    fit = TransformersClassifier.fit

    def counting(self: Any, train: Any, validation: Any, context: Any) -> Any:
        fits.append(context.label)
        return fit(self, train, validation, context)

    monkeypatch.setattr(TransformersClassifier, "fit", counting)
    return fits


def test_an_audit_of_all_parts_is_in_its_folder_and_in_the_report(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    first = fgl.run(settings(), out=out)
    assert first["audit"] is None
    assert "Audit" not in (out / "report.md").read_text()
    fits = counted(monkeypatch)
    found = audited(out)
    methods = found["membership"]["methods"]
    assert list(methods) == ["fgl", "fedavg", "centralized"]
    assert found["membership"]["samples"] == 30
    assert found["membership"]["members"] == [14, 16] or found["membership"]["members"] == [15, 15]
    for one in methods.values():
        assert 0 <= one["lira"]["auc"]["mean"] <= 1
        assert one["lira"]["tpr"]["0.01"] is None, "15 non-members cannot resolve it"
        assert one["lira"]["auc"]["low"] <= one["lira"]["auc"]["mean"] <= one["lira"]["auc"]["high"]
    # class-name prompts: the same images, the run's own model, and nothing trained for it
    same = methods["fgl"]
    assert (same["distinct"], same["as_run"]) == (1, 4)
    assert same["lira"]["auc"] == same["lira"]["balanced"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert not [label for label in fits if label.startswith("fgl")]
    assert len([label for label in fits if label.startswith("centralized")]) == 4
    assert methods["fedavg"]["distinct"] == 4
    assert methods["centralized"]["difference"]["lira"]["auc"]["mean"] == pytest.approx(
        methods["centralized"]["lira"]["auc"]["mean"] - 0.5
    )
    # nothing of a client stays below the shadows
    assert not list(out.glob("audit/shadows/*/clients"))
    assert not list(out.glob("audit/shadows/*/server"))
    text = (out / "report.md").read_text()
    for said in (
        "### Membership inference",
        "### Memorization",
        "### What the uploads say",
        "4 shadows ask for 1 distinct",
        "pairs-with-client-images.png",
        "not to be passed on",
    ):
        assert said in text, said
    assert "### Membership inference" in text
    assert "## Membership inference" in (out / "audit" / "audit.md").read_text()
    assert json.loads((out / "report.json").read_text())["audit"] == found

    fits.clear()
    again = audited(out)
    assert again == found
    assert fits == [], "everything is reused"
    assert audited(out, parts=["uploads"])["membership"] == found["membership"], "what was found before stays"
    # another run of the same configuration keeps it, another one has none
    assert fgl.run(settings(), out=out)["audit"] == found
    assert "### Membership inference" in (out / "report.md").read_text()
    changed = fgl.run(settings(classifier={"epochs": 2}), out=out)
    assert changed["audit"] is None
    assert "### Membership" not in (out / "report.md").read_text()


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Images of three classes that nothing tells apart: to be right on them, they must be learnt by heart."""
    root, draw = tmp_path / "noise", np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:03d}.png")
    return root


@pytest.mark.slow
def test_a_classifier_that_learns_by_heart_is_found_out_and_one_that_saw_no_member_is_not(
    settings: Settings, noise: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    by_heart = {"epochs": 25, "crop_scale": [1.0, 1.0], "crop_ratio": [1.0, 1.0], "flip": False, "label_smoothing": 0.0}
    fgl.run(settings(dataset=str(noise), classifier=by_heart), out=out)
    found = audited(out, parts=["membership"], methods=["fgl", "centralized"])["membership"]["methods"]
    told = found["centralized"]
    assert told["top1"]["members"]["mean"] > 0.9
    assert told["top1"]["others"]["mean"] < 0.6
    assert told["lira"]["auc"]["mean"] > 0.85
    assert told["lira"]["tpr"]["0.1"]["mean"] > 0.5
    assert told["loss"]["auc"]["mean"] > 0.85
    assert told["lira"]["balanced"]["mean"] > 0.7
    assert told["difference"]["lira"]["auc"]["low"] > 0.2
    assert found["fgl"]["lira"]["auc"]["mean"] == 0.5
    assert found["fgl"]["lira"]["tpr"]["0.1"]["mean"] == pytest.approx(0.1)


def test_shadows_of_prompts_about_images_make_each_image_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    prompts = {"name": "attributes", "max_prompts": 4, "template": "{attributes}, {label}"}
    fgl.run(settings(prompt_strategy=prompts, rounds={"count": 1}), out=out)
    own = {row["image_id"] for row, _ in fgl_rows(out / "server" / "shards")}
    painted: list[str] = []
    synthesize = DiffusionSynthesizer.synthesize

    def counting(self: Any, shard: Any, *rest: Any) -> Any:
        painted.extend(item.image_id for item in shard.items)
        return synthesize(self, shard, *rest)

    monkeypatch.setattr(DiffusionSynthesizer, "synthesize", counting)
    found = audited(out, parts=["membership"], methods=["fgl"])["membership"]["methods"]
    assert painted, "halves have other descriptions than the whole"
    assert len(set(painted)) == len(painted)
    assert not own & set(painted)
    assert list(found) == ["fgl", "fgl-rounds"], "a run with rounds is attacked before and after them"
    assert found["fgl"]["distinct"] > 1
    assert found["fgl-rounds"]["as_run"] is None
    assert found["fgl-rounds"]["difference"] is not None


def fgl_rows(folder: Path) -> list[Any]:
    from fgl.core.synthesis.shards import read_shards

    return list(read_shards(folder))


def test_members_are_held_by_their_clients_and_nobody_else_trains(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    session = reopen(out, NullProgress())
    field = shadows.shadow_split(session)
    labels = session.split("train").labels
    for shadow in range(4):
        held = field.held(shadow)
        assert sorted(row for rows in held.values() for row in rows) == field.pool[field.members[shadow]].tolist()
        for name, rows in held.items():
            assert set(rows) <= set(field.divided[name])
            for class_id in range(len(CLASSES)):
                whole = int((labels[field.divided[name]] == class_id).sum())
                assert int((labels[rows] == class_id).sum()) in (whole // 2, -(-whole // 2))


def test_killed_between_two_shadows_an_audit_goes_on_and_ends_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(audit={"methods": ["centralized"], "parts": ["membership"]})
    whole, out = tmp_path / "whole", tmp_path / "run"
    fgl.run(config, out=whole)
    fgl.run(config, out=out)
    undisturbed = audited(whole)
    script = f"""
import os, signal, sys
from fgl.cli import main
from fgl.core.store.run_dir import RunDir
record = RunDir.record
def deadly(self, stage, *rest):
    record(self, stage, *rest)
    if stage == "audit:centralized:01":
        os.kill(os.getpid(), signal.SIGKILL)
RunDir.record = deadly
sys.argv = ["fgl", "audit", {str(out)!r}, "--quiet"]
main()
"""
    died = warm.run(script)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (out / "audit" / "audit.json").exists()
    fits = counted(monkeypatch)
    found = audited(out)
    assert fits == ["centralized, shadow 2", "centralized, shadow 3"]
    assert found["membership"] == undisturbed["membership"]


# --- memorization ---------------------------------------------------------------------------------------------------


def test_a_planted_copy_is_the_closest_pair(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    session = audit._measuring(reopen(out, NullProgress()))
    real = session.pixels("train")
    rows = fgl_rows(out / "server" / "shards")
    pixels = np.stack([rgb for _, rgb in rows])
    labels = np.array([row["label"] for row, _ in rows])
    space = session.manager.create("features", session.config.features).extractor({}, session.classifier, None)
    found, near = memorization.compare(session, space, None, labels, pixels)
    assert found.identical == 0
    assert found.closer["p01"].count == 0
    for key, nominal in (("p05", 0.05), ("p01", 0.01)):
        held_out = near.test[0]
        assert found.closer_test[key] == (held_out < np.quantile(held_out, nominal)).mean()
    planted = int(np.flatnonzero(labels == 1)[0])
    original = int(np.flatnonzero(real.labels == 1)[7])
    pixels[planted] = real.pixels[original]
    found, near = memorization.compare(session, space, None, labels, pixels)
    assert found.identical == 1
    assert near.closest(3)[0][0] == planted
    assert near.made[0][planted] == 0
    assert near.made[1][planted] == original
    # test images are compared as they are, one class like the other
    assert found.counts.compared == found.counts.test == 6
    sheet = contact_sheet.sheet(*memorization._pairs(session, near, pixels))
    with Image.open(io.BytesIO(sheet)) as image:
        shown = np.asarray(image)
    side = 64
    top = 13 + 2 * 8  # below the line that says what is shown
    left, right = shown[top : top + side, 8 : 8 + side], shown[top : top + side, 16 + side : 16 + 2 * side]
    assert (left == right).all(), "the copy and its original, side by side"
    assert (shown[:top] < 128).any(), "and what they are"
    assert (shown[top + side : top + side + 26] < 128).any(), "class and distance"
    (_, _, words), *_ = memorization._pairs(session, near, pixels)[0]
    assert words == (session.info.class_names[1], "distance 0")


def test_distances_are_listed_image_by_image_in_a_folder_that_says_whose(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    found = audited(out, parts=["memorization"])["memorization"]
    assert found["table"] == "audit/private/distances.csv"
    with (out / found["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = [row["kind"] for row in rows]
    assert kinds.count("synthetic") == found["counts"]["synthetic"] == 18
    assert kinds.count("test") == found["counts"]["test"]
    assert Image.open(out / found["pairs"]).width == 4 * 64 + 7 * 8
    assert found["distance"]["test"]["median"] < found["distance"]["synthetic"]["median"], (
        "random weights paint no noise"
    )
    assert features.TITLES["train"] == found["real_is"]


# --- uploads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["fp16", "int8", "text"])
def test_prompts_are_found_in_a_dictionary_that_has_them_and_in_no_other(
    settings: Settings, tmp_path: Path, codec: str
) -> None:
    out = tmp_path / "run"
    fgl.run(settings(upload={"codec": codec}), out=out)
    own = [f"{name}, real world images, high resolution" for name in CLASSES]
    there, not_there = tmp_path / "with.txt", tmp_path / "without.txt"
    there.write_text("\n".join(["sea, by night", *own, "a road", ""]), encoding="utf-8")
    not_there.write_text("sea, by night\na road\n", encoding="utf-8")
    found = audited(out, parts=["uploads"], dictionary=str(there))["uploads"]
    assert found["all"]["recovered"]["count"] == found["all"]["rows"] == 6
    assert found["all"]["classes"]["share"] == 1
    assert {one["codec"] for one in found["clients"].values()} == {codec}
    found = audited(out, parts=["uploads"], dictionary=str(not_there))["uploads"]
    if codec == "text":  # is read, not inverted
        assert found["all"]["recovered"]["share"] == 1
        return
    assert found["all"]["recovered"]["count"] == found["all"]["findable"] == 0
    assert found["all"]["classes"]["count"] == 0
    with (out / found["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["text"] for row in rows} == set(own)
    assert {row["found"] for row in rows} <= {"sea, by night", "a road"}
    # what strategies can write of the class list is a dictionary too
    found = audited(out, parts=["uploads"])["uploads"]
    assert found["all"]["recovered"]["share"] == 1
    assert found["dictionary"]["decoys"] > 10


class Letters:
    """Contract `Encoder`: how often each letter stands at which tenth of a text."""

    def encode(self, prompts: Any) -> Any:
        rows = np.zeros((len(prompts), 10, 128), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            for at, letter in enumerate(prompt.text):
                rows[row, min(9, at // 6), ord(letter) % 128] += 1
        return {"prompt_embeds": rows}, {}

    def truncated(self, prompts: Any) -> int:
        return 0


def test_a_grammar_that_is_too_large_to_try_is_searched() -> None:
    words = ["red", "green", "blue", "black", "white", "yellow", "orange", "brown"]
    grammar = [words, [" and "], words, [", "], ["small", "large", "round", "flat"], [" "], ["house", "river", "field"]]
    secret = ["red and blue, flat river", "white and white, small house", "orange and brown, large field"]
    rows = Letters().encode([fgl_prompt(text) for text in secret])[0]["prompt_embeds"].reshape(3, -1)
    search = lookup.Search(Letters(), rows, ["prompt_embeds"])
    search.climb(grammar, np.random.default_rng(0), lambda count: None)
    found, cosine, margin = search.result()
    assert found == secret
    assert cosine == pytest.approx([1, 1, 1], abs=1e-5)
    assert all(one > 1e-3 for one in margin)
    assert contracts_prompts.spells(grammar, secret[0])
    assert not contracts_prompts.spells(grammar, "red and blue, flat")


def fgl_prompt(text: str) -> Any:
    from fgl.contracts.prompts import Prompt

    return Prompt(0, text)


def test_class_ids_and_weights_are_the_histogram(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = fgl.run(settings(partition={"name": "dirichlet", "beta": 0.3, "min_samples": 4}), out=out)
    found = audited(out, parts=["uploads"])["uploads"]["clients"]
    for name, one in found.items():
        held = result["partition"]["samples"][name]
        assert one["histogram"]["sent"] == held == one["histogram"]["held"]
        assert one["histogram"]["exact"] is True
        assert one["histogram"]["distance"] == 0
        assert one["histogram"]["named"] == sum(count > 0 for count in held)
    upload = uploads.opened(reopen(out, NullProgress()), list(found))[0]
    lies = replace(upload, class_id=np.array([0, 1]), weight=np.array([1.0, 3.0]))
    said = inversion.histogram(lies, [2, 0, 2], 3)
    assert (said.named, said.exact, said.alone) == (2, False, 1)
    assert said.distance == pytest.approx((abs(0.25 - 0.5) + 0.75 + 0.5) / 2)


# --- what cannot be measured ----------------------------------------------------------------------------------------


def test_a_run_that_is_not_finished_says_what_is_missing(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    (out / "train" / "last.safetensors").unlink()
    with pytest.raises(StoreError, match=r"not finished: train is stale .*fgl run --resume"):
        audited(out)


def test_a_server_whose_clients_are_elsewhere_audits_the_uploads_alone(settings: Settings, tmp_path: Path) -> None:
    asked = settings(upload={"clients": ["north", "south"]})
    manager = PluginManager.load()
    session = open_session(
        load_config(asked, manager), manager, RunDir(tmp_path / "run"), NullProgress(), remote_clients=True
    )
    parts, why = audit.parts(session)
    assert parts == ["uploads"]
    assert "elsewhere" in why["membership"]
    assert "no public" in why["memorization"]
    named = open_session(
        load_config({**asked, "audit": {"parts": ["uploads", "membership"]}}, manager),
        manager,
        RunDir(tmp_path / "run"),
        NullProgress(),
        remote_clients=True,
    )
    with pytest.raises(ConfigError, match=r"audit\.parts: got 'membership'; shadow models .* elsewhere"):
        audit.parts(named)


def test_a_client_that_is_taken_out_takes_the_audit_with_it(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fgl.run(settings(), out=out)
    audited(out, methods=["centralized"])
    session = reopen(out, NullProgress())
    forget.forget(session, ["client-00", "client-01"], "client-00")
    assert not (out / "audit").exists()
    assert not list((out / "stages").glob("audit-*"))
    assert fgl.run(settings(), out=out)["audit"] is None
    field = shadows.shadow_split(reopen(out, NullProgress()))
    assert set(field.divided) == {"client-01"}
    assert (field.members.sum(axis=0) == 2).all()
    assert field.members.shape == (4, len(field.pool))
    assert lira.FEWEST == 4
