"""YAML and flags make one configuration, and everything wrong with it is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fgl.core.config import expand, read_yaml, resolve, set_option
from fgl.core.errors import ConfigError
from fgl.core.manager import Manager
from fgl.core.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Manager.load().registry


def problems(registry: Registry, *layers: dict[str, object]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        resolve(layers, registry)
    return {problem.key: f"{problem.got} | {problem.expected}" for problem in caught.value.problems}


def test_nothing_given_is_the_embedded_default(registry: Registry) -> None:
    config = resolve([], registry)
    assert (config.generator.name, config.dataset.options["subset"]) == ("tiny", "eurosat")
    assert config.partition.options["beta"] == 0.01


def test_what_is_shown_resolves_to_the_same_again(registry: Registry, tmp_path: Path) -> None:
    config = resolve([{"partition": {"beta": 0.5}, "controls": "all", "seed": 3}], registry)
    path = tmp_path / "shown.yaml"
    path.write_text(config.to_yaml())
    assert resolve([read_yaml(path)], registry) == config


def test_flags_and_yaml_give_the_same(registry: Registry) -> None:
    flags: dict[str, object] = {"partition": expand("partition", "dirichlet")}
    set_option(flags, "partition.beta=0.5")
    set_option(flags, "generator.num_inference_steps=7")
    text = "partition: {name: dirichlet, beta: 0.5}\ngenerator: {num_inference_steps: 7}"
    assert resolve([flags], registry) == resolve([yaml.safe_load(text)], registry)


def test_a_later_layer_wins_and_another_component_drops_the_options_of_the_old_one(registry: Registry) -> None:
    first = {"partition": {"name": "dirichlet", "beta": 0.5, "clients": 7}}
    assert resolve([first, {"partition": {"beta": 0.1}}], registry).partition.options["beta"] == 0.1
    assert resolve([first, {"partition": "iid"}], registry).partition.options == {"clients": 5}


def test_every_problem_is_reported_at_once_with_its_key(registry: Registry) -> None:
    found = problems(
        registry,
        {
            "generator": "tinny",
            "seeds": 1,
            "seed": "zero",
            "partition": {"name": "iid", "beta": 0.5},
            "synthesis": {"images_per_class": 0, "shards": 2},
            "classifier": {"epochs": "ten"},
            "upload": {"codec": "fp8"},
            "controls": ["poled"],
        },
    )
    assert set(found) == {
        "generator", "seeds", "seed", "partition.beta", "synthesis.images_per_class", "synthesis.shards",
        "classifier.epochs", "upload.codec", "controls",
    }  # fmt: skip
    assert "did you mean 'tiny'" in found["generator"]
    assert "did you mean 'seed'" in found["seeds"]
    assert "0.5" in found["partition.beta"]
    assert "clients" in found["partition.beta"]
    assert "did you mean 'shard_size'" in found["synthesis.shards"]
    assert "'fp16', 'fp32', 'int8' or 'text'" in found["upload.codec"]
    assert "did you mean 'pooled'" in found["controls"]


@pytest.mark.parametrize("value", ["3", True, 1.5, -1, 2**63])
def test_a_seed_is_a_whole_number(registry: Registry, value: object) -> None:
    assert "seed" in problems(registry, {"seed": value})


@pytest.mark.parametrize("value", ["gpu", "cuda:x", "cpu0", 0])
def test_a_device_is_one_that_torch_knows(registry: Registry, value: object) -> None:
    assert "device" in problems(registry, {"device": value})


@pytest.mark.parametrize("text", ["generator", "=3", "generator.=3", ".steps=3"])
def test_set_takes_family_option_value(text: str) -> None:
    with pytest.raises(ConfigError, match=r"family\.option=value"):
        set_option({}, text)


def test_set_keeps_a_name_given_before(registry: Registry) -> None:
    layer: dict[str, object] = {"partition": "iid"}
    set_option(layer, "partition.clients=3")
    assert resolve([layer], registry).partition.options == {"clients": 3}


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "just text"])
def test_a_file_that_is_not_a_configuration_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        read_yaml(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_a_dataset_is_recognised_by_what_lies_at_its_path(tmp_path: Path) -> None:
    (tmp_path / "folders" / "cat").mkdir(parents=True)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.parquet").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").touch()
    kinds = {name: expand("dataset", str(tmp_path / name))["name"] for name in ("folders", "tables", "saved")}
    assert kinds == {"folders": "imagefolder", "tables": "parquet", "saved": "hf"}
    assert expand("dataset", str(tmp_path / "tables" / "train.parquet"))["name"] == "parquet"
    assert expand("dataset", "bundled:emoji") == {"name": "bundled", "subset": "emoji"}
    assert expand("dataset", "hf:owner/name") == {"name": "hf", "path": "owner/name"}


def test_a_dataset_path_that_does_not_exist_says_what_could_be_given(registry: Registry) -> None:
    found = problems(registry, {"dataset": "nowhere"})
    assert "a path must exist" in found["dataset"]
    assert "hf:OWNER/NAME" in found["dataset"]


def test_a_presets_commit_is_that_of_its_model_and_of_no_other() -> None:
    registry = Manager.load().registry

    def generator(**given: Any) -> dict[str, Any]:
        return resolve([{"generator": given}], registry).generator.options

    pinned = generator(name="sd21")
    assert len(pinned["revision"]) == 40
    assert pinned["mirrors"]
    other = generator(name="sd21", model="me/mine")
    assert (other["revision"], other["mirrors"]) == (None, [])
    kept = generator(name="sd21", model="me/copy", revision=pinned["revision"], mirrors=["me/other"])
    assert (kept["revision"], kept["mirrors"]) == (pinned["revision"], ["me/other"])
    assert generator(name="stable-diffusion", revision=pinned["revision"])["revision"] == pinned["revision"]
    lcm = generator(name="sdxl", lora="lcm", lora_revision="main")
    assert lcm["lora_revision"] == "main"
    assert generator(**{"name": "sdxl", **generator(name="sdxl", lora="lcm")}) == generator(name="sdxl", lora="lcm")
