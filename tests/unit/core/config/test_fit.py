"""What does not fit is told before anything runs, all at once, in the same words wherever a configuration is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fgl import Component, hookimpl
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import RunConfig
from fgl.core.experiments.methods import parse
from fgl.core.plugin_manager import GROUP, PluginManager
from fgl.errors import ConfigError
from tests.helpers.cli import checked


@pytest.fixture(scope="module")
def manager() -> PluginManager:
    return PluginManager.load()


def resolved(manager: PluginManager, config: Mapping[str, Any]) -> RunConfig:
    return resolve([config], manager.registry)


def problems(manager: PluginManager, config: Mapping[str, Any]) -> dict[str, str]:
    """Key → what is expected, of each problem of a configuration."""
    with pytest.raises(ConfigError) as caught:
        resolved(manager, config)
    return {problem.key: problem.expected for problem in caught.value.problems}


MISFITS = {
    "texts for a generator of statistics": (
        {"generator": "moments", "prompt_strategy": "class-name"},
        "prompt_strategy",
        "generator 'moments' accepts moments, and this hands on prompts to encode; choose a generator that does (",
    ),
    "statistics for a generator of images": (
        {"prompt_strategy": "moments", "upload": {"codec": "fp32"}},
        "prompt_strategy",
        "generator 'tiny' accepts text, denoiser, and this hands on 'moments'; choose a generator that does (moments)",
    ),
    "prompts that are learned against a denoiser": (
        {"generator": "moments", "prompt_strategy": "learned"},
        "prompt_strategy",
        "this hands on prompts to encode and work for its denoiser; choose a generator that does (sd-turbo, ",
    ),
    "images for a head": (
        {"generator": "tiny", "classifier": "analytic", "prompt_strategy": "class-name"},
        "generator",
        "classifier 'analytic' accepts moments, features, and this hands on images; choose a classifier that does (",
    ),
    "moments for a network of images": (
        {"generator": "moments", "classifier": "small"},
        "generator",
        "accepts images, rounds, and this hands on 'moments'; choose a classifier that does (analytic, gaussian)",
    ),
    "a baseline that encodes class names": (
        {"generator": "moments", "baselines": ["class-list", "centralized"]},
        "baselines",
        "generator 'moments' accepts moments, and this hands on prompts to encode; choose a generator that does (",
    ),
    "a second run with prompts": (
        {"generator": "moments", "baselines": ["prompts:attributes"]},
        "baselines",
        "use baselines=[]",
    ),
    "rounds of a head in closed form": (
        {"classifier": "analytic", "rounds": {"count": 2}},
        "rounds.count",
        "hands on a model to continue training",
    ),
    "image quality of features": (
        {"classifier": "linear", "evaluation": {"quality": True}},
        "evaluation.quality",
        "leave it out: it needs images, and generator 'class-gaussians' yields features",
    ),
    "an attack on embeddings that are none": (
        {"classifier": "gaussian", "audit": {"parts": ["uploads"]}},
        "audit.parts",
        "accepts moments, and this hands on prompts to encode",
    ),
    "memorized images of a run without images": (
        {"classifier": "gaussian", "audit": {"parts": ["memorization"]}},
        "audit.parts",
        "it needs images, and generator 'moments' yields moments",
    ),
}


@pytest.mark.parametrize(("config", "key", "expected"), MISFITS.values(), ids=MISFITS.keys())
def test_a_misfit_names_its_key_what_is_accepted_and_what_would_do(
    manager: PluginManager, config: dict[str, Any], key: str, expected: str
) -> None:
    assert expected in problems(manager, config)[key]


def test_all_misfits_are_told_at_once_with_what_else_is_wrong(manager: PluginManager) -> None:
    found = problems(
        manager,
        {
            "classifier": "analytic",
            "prompt_strategy": "class-name",
            "baselines": ["class-list"],
            "rounds": {"count": 1},
            "evaluation": {"quality": True},
            "seed": -1,
        },
    )
    assert {"prompt_strategy", "baselines", "rounds.count", "evaluation.quality", "seed"} <= found.keys()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"prompt_strategy": "attributes", "baselines": "all"},
        {"classifier": "analytic"},
        {"classifier": "gaussian", "baselines": "all"},
        {"classifier": "linear", "rounds": {"count": 1}, "baselines": ["fedavg"]},
        {"generator": "class-gaussians", "classifier": "analytic"},
    ],
    ids=str,
)
def test_what_fits_is_left_alone(manager: PluginManager, config: dict[str, Any]) -> None:
    resolved(manager, config)


def test_companions_give_way_to_whatever_is_chosen(manager: PluginManager) -> None:
    config = resolved(manager, {"classifier": "linear", "generator": {"covariance": "diagonal"}})
    assert (config.generator.name, config.prompt_strategy.name) == ("class-gaussians", "class-gaussians")
    assert config.generator.options["covariance"] == "diagonal"
    chosen = resolved(manager, {"classifier": "analytic", "generator": "class-gaussians", "upload": {"codec": "fp16"}})
    assert (chosen.generator.name, chosen.prompt_strategy.name) == ("class-gaussians", "class-gaussians")
    assert chosen.upload.codec == "fp16"
    assert resolved(manager, chosen.to_dict()) == chosen


def test_methods_of_a_comparison_are_judged_by_the_same_rule(manager: PluginManager) -> None:
    config = resolved(manager, {"classifier": "analytic"})

    def configured(name: str) -> RunConfig:
        return resolve([{"classifier": "analytic"}], manager.registry, method=name)

    with pytest.raises(ConfigError) as caught:
        parse(["fgl", "fedprox", "fgl-5round", "class-list", "centralized"], 2, manager, config, configured)
    told = [(problem.key, problem.got) for problem in caught.value.problems]
    assert told == [("--methods", "'fedprox'"), ("--methods", "'fgl-5round'"), ("--methods", "'class-list'")]


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--dry-run"),
        ("run",),
        ("compare", "--methods", "fgl", "--seeds", "1"),
        ("sweep", "--over", "synthesis.images_per_class=1,2", "--seeds", "1"),
        ("client", "prepare", "--simulate", "--client", "client-00", "--dataset", "bundled:eurosat"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_says_the_same(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    call: Callable[..., str] = checked(monkeypatch, capsys)
    said = call(*command, "--set", "generator.name=moments", "--set", "prompt_strategy.name=caption", fails=2)
    assert "prompt_strategy: got 'caption'; generator 'moments' accepts moments, and this hands on prompts" in said
    assert "a prompt strategy for it (moments)" in said
    assert not list(tmp_path.iterdir())


def test_a_probe_is_refused_where_the_configuration_states_a_price(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = checked(monkeypatch, capsys)("probe", "--set", "votes.rounds=1", "--set", "votes.sigma=4", fails=2)
    assert "votes.sigma" in said
    assert "a probe reads the clients' images without a price" in " ".join(said.split())


# --- a plugin whose parts state names of their own: this module is one


@hookimpl
def fgl_prompt_strategies() -> list[Component]:
    return [
        Component("own-arrays", "nowhere:S", provides=("arrays", "mine")),
        Component("averaged", "nowhere:A", provides=("arrays",)),
    ]


@hookimpl
def fgl_generators() -> list[Component]:
    return [Component("own-generator", "nowhere:G", accepts=("text", "mine"), provides=("voxels",))]


@hookimpl
def fgl_classifiers() -> list[Component]:
    return [Component("of-voxels", "nowhere:C", accepts=("voxels",))]


@hookimpl
def fgl_upload_filters() -> list[Component]:
    return [Component("of-mine", "nowhere:F", accepts=("mine",))]


def test_names_of_a_plugin_are_matched_like_built_in_ones(manager: PluginManager) -> None:
    own = PluginManager.load(extra=[EntryPoint("names", __name__, GROUP)])
    whole = {"generator": "own-generator", "classifier": "of-voxels"}
    resolved(own, {**whole, "prompt_strategy": "own-arrays"})
    resolved(own, {**whole, "prompt_strategy": "averaged"})
    resolved(own, {"prompt_strategy": "averaged"})
    found = problems(own, {**whole, "prompt_strategy": "class-name", "upload": {"filters": ["of-mine"]}})
    assert found == {"upload.filters": "leave it out: it accepts mine, and the prompt strategy hands on text"}
    found = problems(own, {"prompt_strategy": "own-arrays"})
    assert "choose a generator that does (own-generator)" in found["prompt_strategy"]
    assert "choose a classifier that does (of-voxels)" in problems(own, {"generator": "own-generator"})["generator"]
