"""The classifier that is exported is the one that was measured: transformers alone, on the user's own files, gives
every prediction of the report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

import fgl
from tests.helpers.kinds import KINDS, OWN_LOADER, noise
from tests.helpers.settings import small

CLASSES = ("cat", "dog", "house")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for label, name in enumerate(CLASSES):
        (root / "train" / name).mkdir(parents=True)
        (root / "test" / name).mkdir(parents=True)
        for seed in range(8):
            noise(label, 100 * label + seed, 40, 40).save(root / "train" / name / f"{seed}.png")
        for make in KINDS.values():
            for seed in range(2):
                make(root / "test" / name, label, 10 * label + seed)
    return root


def settings(data: Path, model: Path, **changes: Any) -> dict[str, Any]:
    base = small(data, model, synthesis={"images_per_class": 6}, classifier={"epochs": 2})
    return {**base, **changes}


def by_transformers(folder: Path, files: list[Path]) -> list[str]:
    images = [fgl.load_image(path) if path.stem.split("-")[0] in OWN_LOADER else str(path) for path in files]
    ask = pipeline("image-classification", model=str(folder), top_k=1)
    asked = [ask(image)[0]["label"] for image in images]
    model = AutoModelForImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        answered = model(**processor(images, return_tensors="pt")).logits.argmax(1)
    assert asked == [model.config.id2label[int(index)] for index in answered]
    return asked


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rounds": {"count": 2, "local_epochs": 2}},
        {"classifier": {"name": "resnet18", "epochs": 1, "image_size": 33, "eval_resize": 40, "batch_size": 8}},
    ],
    ids=["one-shot", "after rounds", "resnet18"],
)
def test_pipeline_gives_every_prediction_of_the_report_on_the_original_files(
    data: Path, pipeline: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    result = fgl.run(settings(data, pipeline, **changes), out=tmp_path / "run")
    files = sorted((data / "test").rglob("*.*"))
    predicted = by_transformers(tmp_path / "run" / "classifier", files)
    counted: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    for path, label in zip(files, predicted, strict=True):
        counted[path.parent.name][label] += 1
    score = result["result"]["selected"]
    assert score["confusion"] == counted
    right = sum(counted[name][name] for name in CLASSES)
    assert score["top1"] == pytest.approx(right / len(files), abs=1e-6)
    assert result["test_set"]["images"] == len(files)
    card = (tmp_path / "run" / "classifier" / "README.md").read_text()
    assert f"| {score['top1']:.1%} | {score['balanced_accuracy']:.1%} |" in card
    assert str(data) not in card
    assert str(tmp_path) not in card
    assert str(pipeline) not in card
    assert "client-0" not in card
    assert ("rounds of fedavg" in card) == ("rounds" in changes)
