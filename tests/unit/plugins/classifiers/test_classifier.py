"""Classifiers train, choose, remember and save: on real transformers models of a few thousand parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import load, save
from transformers import AutoImageProcessor, AutoModelForImageClassification

from fgl.contracts.classifier import FitContext
from fgl.contracts.dataset import LabelledPixels
from fgl.errors import DataError, ModelError
from fgl.plugins.classifiers import fgl_classifiers
from fgl.plugins.classifiers.architectures import build
from fgl.plugins.classifiers.classifier import TransformersClassifier, batches, rate, seen_in
from fgl.plugins.classifiers.options import ClassifierOptions
from tests.helpers import warm
from tests.helpers.hub import Hub

NAMES = ('a "quoted" name', "road/highway", "森林")
TINY: dict[str, Any] = {
    "architecture": "regnet",
    "config": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8, "layer_type": "x"},
    "image_size": 16,
    "epochs": 6,
    "batch_size": 16,
    "optimizer": "adamw",
    "lr": 0.01,
    "crop_scale": (0.6, 1.0),
    "flip": True,
    "noise": 0.02,
}
NOTHING = LabelledPixels(np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64))
CONTEXT = FitContext(class_names=NAMES, seed=5, device="cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def toy(count: int = 96, seed: int = 0, classes: int = 3) -> LabelledPixels:
    """Noise around one colour a class: easy, but not for a model that has not learnt."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    colours = np.array([[160, 90, 90], [90, 160, 90], [90, 90, 160]])
    pixels = colours[labels][:, None, None, :] + draw.normal(0, 40, (count, 16, 16, 3))
    return LabelledPixels(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def classifier(**options: Any) -> TransformersClassifier:
    return TransformersClassifier(ClassifierOptions(**{**TINY, **options}))


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_learns_what_can_be_told_apart():
    data, test = toy(), toy(60, seed=1)
    model = classifier().fit(data, None, CONTEXT)
    assert (model.predict(test.pixels) == test.labels).mean() > 0.9
    losses = [entry["loss"] for entry in model.history()]
    assert len(losses) == 6
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("extra", [{"architecture": "vit", "dropout": True}, {}, {"ema": 0.9, "dtype": "bf16"}])
def test_equal_seeds_give_equal_weights_and_global_random_numbers_are_untouched(extra: dict[str, Any]):
    if extra.pop("dropout", False):
        extra["config"] = {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "patch_size": 4,
            "hidden_dropout_prob": 0.3,
        }
    before = torch.get_rng_state()
    torch.rand(1)
    states = [classifier(**extra, epochs=2).fit(toy(), None, replace(CONTEXT, seed=seed)).state() for seed in (1, 1, 2)]
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
    torch.set_rng_state(before)
    torch.rand(1)
    after_one = torch.get_rng_state()
    torch.set_rng_state(before)
    classifier(**extra, epochs=1).fit(toy(32), None, CONTEXT)
    torch.rand(1)
    assert torch.equal(torch.get_rng_state(), after_one)


def test_the_best_epoch_on_validation_is_selected_and_the_last_is_kept():
    # A rate this high, constant to the end, makes epochs differ.
    model = classifier(lr=0.05, epochs=8).fit(toy(), toy(45, seed=2), CONTEXT)
    scores = [entry["validation_top1"] for entry in model.history()]
    validation = toy(45, seed=2)
    assert (model.predict(validation.pixels, "selected") == validation.labels).mean() == pytest.approx(max(scores))
    assert (model.predict(validation.pixels, "last") == validation.labels).mean() == pytest.approx(scores[-1])
    best = len(scores) - scores[::-1].index(max(scores))
    # The last of equal epochs: training that many epochs at this constant rate gives the same weights.
    assert same(model.state("selected"), classifier(lr=0.05, epochs=best).fit(toy(), None, CONTEXT).state("last"))


@pytest.mark.parametrize("slack", [0.5, 1.0, 10.0])
def test_with_slack_the_latest_epoch_that_is_about_as_good_as_the_best_before_it_is_selected(slack: float):
    validation = toy(45, seed=2)
    model = classifier(lr=0.05, epochs=8, selection_slack=slack).fit(toy(), validation, CONTEXT)
    scores = [entry["validation_top1"] for entry in model.history()]
    best, chosen = scores[0], 1
    for epoch, score in enumerate(scores[1:], 2):
        if score >= best - slack * (best * (1 - best) / 45) ** 0.5:
            chosen = epoch
        best = max(best, score)
    assert same(model.state("selected"), classifier(lr=0.05, epochs=chosen).fit(toy(), None, CONTEXT).state("last"))
    assert slack < 10 or chosen == 8


@pytest.mark.parametrize(
    "validation", [None, LabelledPixels(np.zeros((0, 16, 16, 3), np.uint8), np.zeros(0, np.int64))]
)
def test_without_validation_the_last_epoch_is_selected(validation: LabelledPixels | None):
    model = classifier(epochs=2).fit(toy(), validation, CONTEXT)
    assert same(model.state("selected"), model.state("last"))
    assert all("validation_top1" not in entry for entry in model.history())


def test_a_state_restores_the_predictions_and_training_goes_on_from_it():
    model = classifier().fit(toy(), None, CONTEXT)
    state = model.state("last")
    assert {array.dtype for array in state.values()} <= {np.dtype(np.float32), np.dtype(np.int64)}
    restored = classifier().restore(state, replace(CONTEXT, seed=99))
    assert np.array_equal(restored.predict(toy().pixels), model.predict(toy().pixels))
    assert same(restored.state("last"), state)
    further = classifier().fit(toy(), None, replace(CONTEXT, start=state, epochs=1))
    assert len(further.history()) == 1
    assert further.history()[0]["loss"] < model.history()[0]["loss"] / 2


def test_size_is_that_of_the_state():
    model = classifier(epochs=1).fit(toy(), None, CONTEXT)
    assert model.size_bytes() == sum(array.nbytes for array in model.state("last").values())


def test_a_state_of_another_model_is_refused():
    state = dict(classifier(epochs=1).fit(toy(), None, CONTEXT).state("last"))
    with pytest.raises(ModelError, match="1 of another shape"):
        classifier().restore(state | {"classifier.1.bias": np.zeros(7, np.float32)}, CONTEXT)
    state.pop("classifier.1.bias")
    with pytest.raises(ModelError, match="1 arrays missing"):
        classifier().restore(state, CONTEXT)


@pytest.mark.parametrize("extra", [{}, {"image_size": 24}, {"eval_resize": 20}])
def test_saved_folders_open_with_transformers_and_name_their_classes(tmp_path: Path, extra: dict[str, Any]):
    data = toy(30)
    trained = classifier(**extra).fit(data, None, CONTEXT)
    trained.save(tmp_path / "model", "selected")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "model")
    assert model.config.id2label == dict(enumerate(NAMES))
    assert model.config.label2id == {name: index for index, name in enumerate(NAMES)}
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model")
    inputs = processor([Image.fromarray(pixels) for pixels in data.pixels], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
    sure = logits.softmax(1).max(1).values > 0.6
    assert sure.sum() > 15
    assert torch.equal(logits.argmax(1)[sure], torch.from_numpy(trained.predict(data.pixels))[sure])


def test_a_saved_folder_is_a_pretrained_model_for_other_classes(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    model = classifier().fit(toy(), None, CONTEXT)
    model.save(tmp_path, "last")
    options = ClassifierOptions(**{**TINY, "architecture": None, "config": {}, "pretrained": str(tmp_path)})
    wider = [build(options, (*NAMES, "one more"), seed).state_dict() for seed in (0, 0, 1)]
    assert capfd.readouterr().err == ""
    heads = [state.pop("classifier.1.weight") for state in wider]
    assert heads[0].shape == (4, 16)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    for name, array in model.state("last").items():
        if not name.startswith("classifier"):
            assert np.array_equal(wider[0][name].numpy(), array)


def test_a_pretrained_model_of_the_hub_is_pulled_without_its_pickles(hub: Hub, tmp_path: Path):
    built = build(ClassifierOptions(**TINY), NAMES, 0)
    built.save_pretrained(tmp_path / "net")
    (tmp_path / "net" / "pytorch_model.bin").write_bytes(b"pickle")
    hub.push("who/net", tmp_path / "net")
    code = (
        "from fgl.plugins.classifiers.architectures import build\n"
        "from fgl.plugins.classifiers.options import ClassifierOptions\n"
        "model = build(ClassifierOptions(pretrained='who/net', image_size=32), ('a', 'b', 'c'), 0)\n"
        "print(sum(parameter.sum().item() for name, parameter in model.base_model.named_parameters()))"
    )
    done = warm.run(code, env=hub.env(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(sum(one.sum().item() for one in built.base_model.parameters()), rel=1e-5)
    assert sorted(one.path.rpartition("/")[2] for one in hub.downloads()) == ["config.json", "model.safetensors"]
    (use,) = ClassifierOptions(pretrained="who/net", revision="v1").models()
    assert (use.model, use.revision) == ("who/net", "v1")


def test_weights_of_another_architecture_are_refused(tmp_path: Path):
    classifier(epochs=1).fit(toy(), None, CONTEXT).save(tmp_path, "last")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "resnet", "layer_type": "basic"}))
    with pytest.raises(ModelError, match=r"lacks 21 of its 23 weights \(resnet\.embedder"):
        build(ClassifierOptions(pretrained=str(tmp_path), image_size=32), NAMES, 0)


def test_a_pretrained_model_may_lack_its_head_and_nothing_else(tmp_path: Path):
    build(ClassifierOptions(**TINY), NAMES, 0).save_pretrained(tmp_path)
    path, fine = tmp_path / "model.safetensors", ClassifierOptions(pretrained=str(tmp_path), image_size=32)
    arrays = load(path.read_bytes())
    head = [name for name in arrays if name.startswith("classifier.")]
    path.write_bytes(save({name: array for name, array in arrays.items() if name not in head}, {"format": "pt"}))
    build(fine, NAMES, 0)
    lost = next(name for name in arrays if name not in head and name.endswith("weight"))
    path.write_bytes(save({name: array for name, array in arrays.items() if name != lost}, {"format": "pt"}))
    with pytest.raises(ModelError, match=r"pretrained: .* lacks 1 of its \d+ weights"):
        build(fine, NAMES, 0)
    path.write_bytes(save({**arrays, lost: np.full_like(arrays[lost], np.nan)}, {"format": "pt"}))
    with pytest.raises(ModelError, match=r"pretrained: .* not finite"):
        build(fine, NAMES, 0)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="is cut off"):
        build(fine, NAMES, 0)


@pytest.mark.parametrize("count", [1, 2, 5, 17, 33])
def test_any_number_of_images_of_one_class_trains(count: int):
    data = toy(count, classes=1)
    model = classifier(batch_size=16, epochs=2).fit(data, None, CONTEXT)
    assert all(np.isfinite(array).all() for array in model.state("last").values())


def test_batches_are_even_and_never_of_one_image():
    for count in range(2, 50):
        for size in range(2, 20):
            found = batches(np.arange(count), size)
            lengths = [len(batch) for batch in found]
            assert np.array_equal(np.concatenate(found), np.arange(count))
            assert min(lengths) >= 2
            assert max(lengths) <= max(size, 3)
            assert seen_in(len(lengths) + 1, count, size) == count + lengths[0]


def test_steps_and_progress_are_told_as_they_happen():
    told: list[tuple[int, float]] = []
    tracked: list[tuple[str, int, str]] = []
    advanced: list[int] = []

    class Task:
        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def advance(self, count: int = 1, note: str = "") -> None:
            advanced.append(count)

    class Progress:
        def track(self, what: str, total: int, unit: str = "images") -> Task:
            tracked.append((what, total, unit))
            return Task()

    context = replace(CONTEXT, progress=Progress(), on_step=lambda step, loss: told.append((step, loss)), label="here")
    model = classifier(max_steps=8).fit(toy(), None, context)
    assert tracked == [("here", 128, "images")]
    assert sum(advanced) == 128
    assert [step for step, _ in told] == list(range(1, 9))
    assert np.mean([loss for _, loss in told[:6]]) == pytest.approx(model.history()[0]["loss"], rel=1e-5)
    assert len(model.history()) == 2


class Kept:
    """A checkpoint in memory, whose holder is stopped right after its `end`-th save."""

    def __init__(self, end: int = 0) -> None:
        self.arrays: dict[str, np.ndarray] | None = None
        self.end, self.saves = end, 0

    def load(self) -> dict[str, np.ndarray] | None:
        return self.arrays

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = load(save({name: np.array(array, order="C") for name, array in arrays.items()}))
        self.saves += 1
        if self.saves == self.end:
            raise KeyboardInterrupt

    def child(self, name: str) -> Kept:
        raise LookupError(name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "warmup": 0.2, "schedule": "cosine"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"ema": 0.9, "dtype": "bf16", "cutout": 0.3, "blur": 0.5},
        {"max_steps": 20},
        {
            "architecture": "vit",
            "config": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
                "hidden_dropout_prob": 0.3,
                "patch_size": 8,
            },
        },
    ],
)
@pytest.mark.parametrize("validation", [None, toy(30, seed=2)])
def test_training_goes_on_from_any_epoch_to_the_same_weights(
    options: dict[str, Any], validation: LabelledPixels | None
):
    options = {"epochs": 4, **options}
    undisturbed = classifier(**options).fit(toy(), validation, CONTEXT)
    epochs = len(undisturbed.history())
    for end in range(1, epochs + 1):
        kept = Kept(end)
        with pytest.raises(KeyboardInterrupt):
            classifier(**options).fit(toy(), validation, replace(CONTEXT, checkpoint=kept))
        again = classifier(**options).fit(toy(), validation, replace(CONTEXT, checkpoint=kept))
        assert kept.saves == epochs, "an epoch was trained twice"
        for which in ("selected", "last"):
            assert same(again.state(which), undisturbed.state(which))
        assert again.history() == undisturbed.history()


def test_epochs_of_the_context_win():
    assert len(classifier(max_steps=1).fit(toy(), None, replace(CONTEXT, epochs=3)).history()) == 3


def test_schedules_rise_and_fall():
    def course(**options: Any) -> list[float]:
        return [rate(ClassifierOptions(**{**TINY, **options}), step, 100) for step in range(100)]

    assert course() == [1.0] * 100
    for schedule in ("cosine", "linear"):
        rates = course(schedule=schedule, warmup=0.2)
        assert rates[:20] == sorted(rates[:20])
        assert rates[20:] == sorted(rates[20:], reverse=True)
        assert rates[20] == 1.0
        assert 0 < rates[-1] < 0.05
        assert 0 < rates[0] < 0.1


def test_data_that_cannot_be_learnt_from_is_refused():
    data = toy(6)
    wrong = {
        "empty": LabelledPixels(data.pixels[:0], data.labels[:0]),
        "labels from 0 to 3": LabelledPixels(data.pixels, np.array([0, 1, 2, 3, 0, 0])),
        "5 labels": LabelledPixels(data.pixels, data.labels[:5]),
        "float32": LabelledPixels(data.pixels.astype(np.float32), data.labels),  # type: ignore[arg-type]
    }
    for message, bad in wrong.items():
        with pytest.raises(DataError, match=message):
            classifier().fit(bad, None, CONTEXT)


def test_divergence_is_an_error_that_names_the_learning_rate():
    with pytest.raises(ModelError, match=r"diverged.*lower lr"):
        classifier(optimizer="sgd", lr=1e30, dtype="fp32").fit(toy(), None, CONTEXT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "resnext", "config": {}}, "unknown architecture 'resnext': did you mean 'res"),
        ({"config": {"hidden_size": [8]}}, "no configuration key 'hidden_size': did you mean 'hidden_sizes'"),
        ({"config": {"hidden_sizes": "wide"}}, "regnet cannot be built with config"),
        ({"architecture": "vit", "config": {"patch_size": 32}}, "image_size"),
        ({"architecture": None, "config": {}, "pretrained": "/nowhere/at/all"}, "no folder /nowhere/at/all"),
    ],
)
def test_models_that_cannot_be_built_say_why(options: dict[str, Any], message: str):
    with pytest.raises(ModelError, match=message):
        classifier(**options).fit(toy(), None, CONTEXT)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "regnet"}))
    with pytest.raises(ModelError, match="cannot load"):
        classifier(architecture=None, config={}, pretrained=str(tmp_path)).fit(toy(), None, CONTEXT)


def test_options_want_one_source_and_a_known_preset():
    for wrong, message in [
        ({}, "exactly one"),
        ({"architecture": "vit", "pretrained": "a"}, "exactly one"),
        ({"pretrained": "a", "config": {"x": 1}}, "only for architecture"),
        ({"architecture": "vit", "preset": "papre"}, "preset"),
        ({"architecture": "vit", "image_size": 32, "eval_resize": 16}, "eval_resize"),
        ({"architecture": "vit", "lr": "0.1"}, "lr"),
    ]:
        with pytest.raises(ValidationError, match=message):
            ClassifierOptions(**wrong)


def test_a_preset_fills_in_only_what_is_not_given():
    options = ClassifierOptions(architecture="resnet", preset="paper", epochs=3)
    assert (options.epochs, options.lr, options.momentum, options.weight_decay) == (3, 0.01, 0.9, 2e-4)
    assert (options.batch_size, options.image_size, options.eval_resize, options.schedule) == (
        128,
        224,
        256,
        "constant",
    )


@pytest.mark.parametrize("component", fgl_classifiers(), ids=lambda component: component.name)
def test_each_component_has_valid_options_and_a_class(component: Any):
    module, _, name = component.options.partition(":")
    cls = getattr(import_module(module), name)
    needs_architecture = "architecture" in cls.model_fields and "architecture" not in component.defaults
    options = cls(**{**component.defaults, **({"architecture": "resnet"} if needs_architecture else {})})
    module, _, name = component.target.partition(":")
    assert getattr(import_module(module), name)(options).options is options


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 11.69), ("resnet34", 21.80), ("resnet50", 25.56)])
def test_resnets_have_as_many_parameters_as_torchvisions(name: str, millions: float):
    component = {component.name: component for component in fgl_classifiers()}[name]
    options = ClassifierOptions(**{**component.defaults, "image_size": 32, "eval_resize": None})
    model = build(options, [str(index) for index in range(1000)], 0)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
