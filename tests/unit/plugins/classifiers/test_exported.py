"""What an exported folder's processor and model give is what the classifier itself gives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

import fgl
from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import LabelledPixels
from fgl.contracts.preparation import Preparation, cropped, square
from fgl.plugins.classifiers import fgl_classifiers
from fgl.plugins.classifiers.augment import Augmenter
from fgl.plugins.classifiers.classifier import TransformersClassifier
from fgl.plugins.classifiers.model import image_processor
from fgl.plugins.classifiers.options import ClassifierOptions
from fgl.plugins.datasets.decode import decode
from tests.helpers.kinds import KINDS, OWN_LOADER, noise

NAMES = ("first", "second", "third")
CONTEXT = FitContext(class_names=NAMES, seed=5, device="cpu")
VIT = {
    "architecture": "vit",
    "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
}
OWN: dict[str, dict[str, Any]] = {
    "transformers": {**VIT, "config": {**VIT["config"], "patch_size": 8}, "image_size": 32, "lr": 1e-3},
}
# The recipe of the paper is for 224 pixels: here odd sides, which leave halves of pixels to be rounded.
SIDES = {"resnet18": (40, 47), "resnet34": (33, 40), "resnet50": (32, None)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    return [make(folder, label, seed) for make in KINDS.values() for label in range(3) for seed in (label, label + 10)]


def kind_of(path: Path) -> str:
    return path.stem.partition("-")[0]


def inputs_of(options: ClassifierOptions, files: list[Path]) -> torch.Tensor:
    """As the network is tested on them: decoded as a dataset does, prepared, normalized."""
    side = options.eval_resize or options.image_size
    pixels = np.stack([square(decode(path.read_bytes(), path.name), side, options.image_size) for path in files])
    augmenter = Augmenter(options, options.image_size, torch.device("cpu"), 0, options.eval_resize)
    return augmenter.evaluate(torch.tensor(augmenter.prepare(pixels)))


@pytest.mark.parametrize(
    ("size", "eval_resize"), [(224, 256), (224, None), (32, None), (33, 40), (40, 47), (48, 64)], ids=str
)
def test_the_exported_processor_gives_the_same_bits(
    tmp_path: Path, files: list[Path], size: int, eval_resize: int | None
) -> None:
    means = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    options = ClassifierOptions(architecture="resnet", image_size=size, eval_resize=eval_resize, **means)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(image_processor(options)))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for path in files:
        image = fgl.load_image(path) if kind_of(path) in OWN_LOADER else str(path)
        theirs = processor(image, return_tensors="pt").pixel_values
        assert theirs.dtype == torch.float32
        assert torch.equal(theirs, inputs_of(options, [path])), path.name


# Heads on features export no model of transformers that takes images.
OF_IMAGES = [component for component in fgl_classifiers() if not component.accepts]


@pytest.mark.parametrize("component", OF_IMAGES, ids=lambda component: component.name)
def test_every_classifier_predicts_after_its_export_what_it_predicted_before(
    tmp_path: Path, files: list[Path], component: Any
) -> None:
    given = {**component.defaults, **OWN.get(component.name, {}), "epochs": 1, "batch_size": 12}
    if component.name in SIDES:
        given["image_size"], given["eval_resize"] = SIDES[component.name]
    classifier = TransformersClassifier(ClassifierOptions(**given))
    how = classifier.preparation((32, 32))
    labels = np.arange(48) % 3
    train = np.stack([np.asarray(noise(label, seed + 100, 32, 32)) for seed, label in enumerate(labels)])
    trained = classifier.fit(LabelledPixels(train, labels), None, CONTEXT)
    pixels = np.stack([square(decode(path.read_bytes(), path.name), how.resize, how.crop) for path in files])
    predicted = [NAMES[label] for label in trained.predict(pixels)]
    trained.save(tmp_path / "model", "last")

    # a path is opened by the processor; an image that was opened already has its own mode
    images = [fgl.load_image(path) if kind_of(path) in OWN_LOADER else str(path) for path in files]
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.float32
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        logits = model(**processor(images, return_tensors="pt")).logits
    assert [model.config.id2label[int(index)] for index in logits.argmax(1)] == predicted
    np.testing.assert_allclose(logits.numpy(), trained.logits(pixels), rtol=1e-3, atol=1e-3)

    ask = pipeline("image-classification", model=str(tmp_path / "model"), top_k=1)
    assert [ask(image)[0]["label"] for image in images] == predicted


def test_an_opened_grey_image_need_not_be_converted_first(tmp_path: Path) -> None:
    options = ClassifierOptions(**OWN["transformers"])
    TransformersClassifier(options).initial(CONTEXT).save(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for mode in ("L", "1", "P", "CMYK"):
        image = noise(0, 0, 50, 40).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, "TIFF")
        expected = square(decode(buffer.getvalue(), mode), 32, 32)
        theirs = processor(image, return_tensors="pt").pixel_values
        own = Augmenter(options, 32, torch.device("cpu"), 0).evaluate(torch.tensor(expected[None]))
        assert torch.equal(theirs, own), mode


@pytest.mark.parametrize(("side", "crop"), [(256, 224), (47, 40), (40, 33), (32, 32)])
@pytest.mark.parametrize("size", [(300, 301), (301, 300), (64, 64), (65, 131), (256, 256), (47, 300)])
def test_the_square_keeps_the_middle_that_would_be_cut_from_the_whole(
    side: int, crop: int, size: tuple[int, int]
) -> None:
    image = noise(1, 3, *size)
    kept = square(image, side, crop)
    assert kept.shape == (side, side, 3)
    once = cropped(np.asarray(image)[None], side, crop)
    assert np.array_equal(cropped(kept[None], side, crop), once)


def test_real_images_are_trained_on_at_the_resolution_of_synthetic_ones_as_far_as_training_uses_it() -> None:
    def prepared(made: int, **options: Any) -> Preparation:
        given = {"architecture": "resnet", "image_size": 32, **options}
        return TransformersClassifier(ClassifierOptions(**given)).preparation((made, made))

    assert prepared(32) == Preparation(32, 32, 32)
    assert prepared(512) == Preparation(32, 32, 32)
    assert prepared(16) == Preparation(32, 32, 32)
    paper = {"preset": "paper", "image_size": 224}
    assert prepared(32, **paper) == Preparation(256, 224, 256)
    assert prepared(512, **paper) == Preparation(256, 224, 305)


def test_images_that_are_not_square_are_trained_on_as_they_are_tested() -> None:
    options = ClassifierOptions(architecture="resnet", image_size=16, mean=(0, 0, 0), std=(1, 1, 1))
    augmenter = Augmenter(options, 16, torch.device("cpu"), 0)
    pixels = np.zeros((1, 16, 48, 3), dtype=np.uint8)
    pixels[:, :, 16:32] = 255
    assert augmenter.train(torch.from_numpy(pixels)).min() == 1
    assert augmenter.evaluate(torch.tensor(augmenter.prepare(pixels))).min() == 1


def test_what_is_measured_is_computed_in_float32_whatever_training_computes_in() -> None:
    classifier = TransformersClassifier(ClassifierOptions(**OWN["transformers"], dtype="bf16"))
    exact = TransformersClassifier(ClassifierOptions(**OWN["transformers"], dtype="fp32"))
    pixels = np.stack([np.asarray(noise(label, label, 32, 32)) for label in range(3)])
    assert np.array_equal(classifier.initial(CONTEXT).logits(pixels), exact.initial(CONTEXT).logits(pixels))
