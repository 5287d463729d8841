"""YAML and flags make one configuration, and everything wrong with it is said at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fgl.core.config import short_forms
from fgl.core.config.loader import expand, read_yaml, set_option
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Registry
from fgl.errors import ConfigError


@pytest.fixture(scope="module")
def registry() -> Registry:
    return PluginManager.load().registry


def problems(registry: Registry, *layers: dict[str, object]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        resolve(layers, registry)
    return {problem.key: f"{problem.got} | {problem.expected}" for problem in caught.value.problems}


def test_nothing_given_is_the_embedded_default(registry: Registry) -> None:
    config = resolve([], registry)
    assert (config.generator.name, config.dataset.options["subset"]) == ("tiny", "eurosat")
    assert config.partition.options["beta"] == 0.01


def test_what_is_shown_resolves_to_the_same_again(registry: Registry, tmp_path: Path) -> None:
    config = resolve([{"partition": {"beta": 0.5}, "baselines": "all", "seed": 3}], registry)
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
            "baselines": ["centralised"],
        },
    )
    assert set(found) == {
        "generator",
        "seeds",
        "seed",
        "partition.beta",
        "synthesis.images_per_class",
        "synthesis.shards",
        "classifier.epochs",
        "upload.codec",
        "baselines",
    }
    assert "did you mean 'tiny'" in found["generator"]
    assert "did you mean 'seed'" in found["seeds"]
    assert "0.5" in found["partition.beta"]
    assert "clients" in found["partition.beta"]
    assert "did you mean 'shard_size'" in found["synthesis.shards"]
    assert "'fp16', 'fp32', 'int8' or 'text'" in found["upload.codec"]
    assert "did you mean 'centralized'" in found["baselines"]


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("classifier.crop_scale=3", "classifier.crop_scale: got 3; expected a list such as [a, b]"),
        ("classifier.crop_scale=[1, a]", "classifier.crop_scale.1: got 'a'; expected a number"),
        ("classifier.crop_scale=[1]", "classifier.crop_scale.1: got nothing; expected a longer list"),
        ("classifier.crop_scale=[1, 1, 1]", "expected at most 2 in the list, not 3"),
        ("classifier.flip=1", "classifier.flip: got 1; expected true or false"),
        ("classifier.config=x", "classifier.config: got 'x'; expected a mapping such as {a: b}"),
        (
            "generator.guidance_scale=x",
            "generator.guidance_scale: got 'x'; expected a number, or a list such as [a, b]",
        ),
        ("generator.guidance_scale=[1, 2, 3]", "got [1, 2, 3]; expected a number, or at most 2 in the list, not 3"),
        ("generator.mirrors=x", "generator.mirrors: got 'x'; expected a list such as [a, b]"),
        ("generator.num_inference_steps=ten", "got 'ten'; expected a whole number"),
        ("generator.num_inference_steps=0", "got 0; expected 1 or more"),
        ("generator.steps=3", "generator.steps: got 3; unknown option: did you mean 'num_inference_steps'?"),
        ("generatr.steps=3", "generatr: got {steps: 3}; unknown key: did you mean 'generator'?"),
        ("generator=", "generator: got null; expected a name, or a mapping"),
        ("generator.name=[a]", "generator.name: got ['a']; expected a name (installed: "),
        ("prompt_strategy.templates=x", "prompt_strategy.templates: got 'x'; expected a list such as [a, b]"),
        ("prompt_strategy.templates=[1]", "prompt_strategy.templates.0: got 1; expected text"),
        ("prompt_strategy.templates=[]", "prompt_strategy.templates: got []; expected at least 1 in the list, not 0"),
        ("dataset.subset=", "dataset.subset: got null; expected 'eurosat', 'fashion_mnist' or 'emoji'"),
        ("upload.max_megabytes=.inf", "upload.max_megabytes: got .inf; expected a finite number"),
        ("upload.max_megabytes=.nan", "upload.max_megabytes: got .nan; expected"),
        ("upload.run_id={a: true}", "upload.run_id: got {a: true}; expected text"),
        ('upload.run_id="a\\0b"', r"upload.run_id: got 'a\x00b'; expected text without NUL characters"),
        ("baselines={a: 1}", "baselines: got {a: 1}; expected all, none, or a list of class-list"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_yaml(registry: Registry, assignment: str, said: str) -> None:
    layer: dict[str, object] = {}
    set_option(layer, assignment)
    with pytest.raises(ConfigError) as caught:
        resolve([layer], registry)
    assert said in str(caught.value)
    assert not re.search(r"nput should|tuple|dictionary|None|True", str(caught.value))


def test_no_message_of_any_option_speaks_of_python(registry: Registry) -> None:
    """A value of a wrong kind to every option of every component."""
    for entry in registry.all():
        for option in registry.options_class(entry).model_fields:
            for value in (object, b"x", {1: object}, [object]):
                try:
                    resolve([{entry.family: {"name": entry.component.name, option: value}}], registry)
                except ConfigError as error:
                    (mine,) = [p for p in error.problems if p.key.startswith(f"{entry.family}.{option}")][:1] or [None]
                    assert mine is None or not re.search(r"nput should|tuple|dictionary", mine.expected), mine


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1, column 5: "),
        ("- 1\n- 2", "got [1, 2]; expected a mapping of keys to values"),
        ("just text", "got 'just text'; expected a mapping"),
        ("seed: 1\nseed: 2", "line 2, column 1: the key 'seed' is there twice"),
        ("generator: {name: tiny, name: sd15}", "line 1, column 25: the key 'name' is there twice"),
        ("generator:\n\tname: tiny", "line 2, column 1: found character"),
        ("seed: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: " + "[" * 100_000, "deeper than 32 levels"),
        ("seed: " + "1" * 5000, "a number of 5,000 digits"),
        (b"\xff\xfe", "the byte 0xff at 0, which is not UTF-8"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"bad\.yaml") as caught:
        read_yaml(path)
    assert said in str(caught.value)


def test_dates_are_text_and_yaml_that_holds_itself_is_an_error_like_any_other(
    registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "good.yaml"
    path.write_text("upload: {run_id: 2026-11-01}\nclassifier: {epochs: 3}\n")
    assert resolve([read_yaml(path)], registry).upload.run_id == "2026-11-01"
    layer: dict[str, object] = {}
    set_option(layer, "upload.run_id=2026-99-01")
    assert resolve([layer], registry).upload.run_id == "2026-99-01"
    path.write_text("generator: &a {name: tiny, model: *a}\n")
    with pytest.raises(ConfigError, match="an alias within what it names"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E5", 1e5), ("-2.5e-3", -2.5e-3), ("1.e2", 100.0), ("+3e+1", 30.0)]
)
def test_numbers_are_those_of_json_and_yaml_1_2(tmp_path: Path, text: str, value: float) -> None:
    layer: dict[str, Any] = {}
    set_option(layer, f"classifier.lr={text}")
    path = tmp_path / "config.yaml"
    path.write_text(f"classifier: {{lr: {text}}}\n")
    assert layer["classifier"]["lr"] == read_yaml(path)["classifier"]["lr"] == value


@pytest.mark.parametrize("text", ["e4", "1e", "1e5b", "0x1e5", "1e-4-2", "abc1e4"])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    layer: dict[str, Any] = {}
    set_option(layer, f"upload.run_id={text}")
    assert layer["upload"]["run_id"] == (0x1E5 if text == "0x1e5" else text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_a_dataset_is_recognized_by_what_lies_at_its_path(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "folders" / "cat").mkdir(parents=True)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.parquet").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").touch()
    kinds = {
        name: short_forms.kind_of("dataset", str(tmp_path / name), registry) for name in ("folders", "tables", "saved")
    }
    assert kinds == {"folders": "imagefolder", "tables": "parquet", "saved": "hf"}
    assert short_forms.kind_of("dataset", str(tmp_path / "tables" / "train.parquet"), registry) == "parquet"
    assert short_forms.expanded("dataset", "bundled:emoji", registry) == {"name": "bundled", "subset": "emoji"}
    assert short_forms.expanded("dataset", "hf:owner/name", registry) == {"name": "hf", "path": "owner/name"}


def test_a_dataset_path_that_does_not_exist_says_what_could_be_given(registry: Registry) -> None:
    found = problems(registry, {"dataset": "nowhere"})
    assert "a path must exist" in found["dataset"]
    assert "hf:OWNER/NAME" in found["dataset"]


def test_a_presets_commit_is_that_of_its_model_and_of_no_other() -> None:
    registry = PluginManager.load().registry

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


@pytest.mark.parametrize(
    ("family", "got", "said"),
    [
        ("dataset", "eurosat", "did you mean 'bundled:eurosat'?"),
        ("dataset", "fashion-mnist", "did you mean 'bundled:fashion_mnist'?"),
        ("dataset", "imagefoldr", "did you mean 'imagefolder'?"),
        ("dataset", "nope", None),
        ("partition", "random", None),
    ],
)
def test_only_what_may_be_meant_is_suggested(registry: Registry, family: str, got: str, said: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([{family: got}], registry)
    assert ("did you mean" in str(caught.value)) == (said is not None)
    assert (said or "") in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        ["clip:30", {"name": "aggregate"}],
        [{"name": "clip", "max_norm": 30.0}, "aggregate:class-mean"],
        [{"name": "clip", "max_norm": 30}, "aggregate"],
    ],
)
def test_upload_filters_are_names_short_forms_or_mappings_and_keep_their_order(
    registry: Registry, given: list[Any]
) -> None:
    config = resolve([{"upload": {"filters": given}}], registry)
    assert config.upload.filters == [
        {"name": "clip", "max_norm": 30.0, "arrays": None},
        {"name": "aggregate", "aggregator": "class-mean", "options": {}},
    ]
    assert [(one.name, one.options.get("max_norm")) for one in config.upload.chain()] == [
        ("clip", 30.0),
        ("aggregate", None),
    ]
    assert resolve([config.to_dict()], registry) == config


def test_one_upload_filter_needs_no_list_and_a_later_layer_replaces_the_chain(registry: Registry) -> None:
    layers = [{"upload": {"filters": "min-samples:3", "codec": "fp32"}}, {"upload": {"filters": ["aggregate"]}}]
    assert [one.name for one in resolve(layers[:1], registry).upload.chain()] == ["min-samples"]
    config = resolve(layers, registry)
    assert ([one.name for one in config.upload.chain()], config.upload.codec) == (["aggregate"], "fp32")


def test_what_is_wrong_with_an_upload_filter_names_it_and_its_option(registry: Registry) -> None:
    chain = ["agregate", {"name": "clip", "max_norm": -1}, {"name": "min-samples", "sample": 3}, "clip:x", 7]
    with pytest.raises(ConfigError) as caught:
        resolve([{"upload": {"filters": chain}, "upload_filter": "clip"}], registry)
    lines = [str(problem) for problem in caught.value.problems]
    for said in (
        "upload_filter: got 'clip'; unknown key: set upload.filters",
        "upload.filters: got 'agregate'; unknown upload filter 'agregate': did you mean 'aggregate'?",
        "upload.filters.clip.max_norm: got -1; expected more than 0",
        "upload.filters.min-samples.sample: got 3; unknown option: did you mean 'samples'?",
        "upload.filters.clip: got 'clip:x'; clip expected a number after the colon",
        "upload.filters: got 7; expected names, or mappings with a name and options (installed: aggregate, clip",
    ):
        assert any(line.startswith(said) for line in lines), (said, lines)


def test_a_run_without_upload_filters_has_the_inputs_that_it_had_before_there_were_any(registry: Registry) -> None:
    assert "filters" not in resolve([], registry).upload.inputs()
    filtered = resolve([{"upload": {"filters": ["aggregate"]}}], registry).upload.inputs()
    assert [one["name"] for one in filtered["filters"]] == ["aggregate"]


def test_the_rule_of_rounds_is_a_component_with_all_its_options(registry: Registry) -> None:
    layers: list[dict[str, object]] = [
        {"rounds": {"count": 2, "aggregation": "krum:2"}},
        {"rounds": {"aggregation": {"keep": 3}}},
    ]
    config = resolve(layers, registry)
    assert config.rounds.aggregation == {"name": "krum", "hostile": 2, "keep": 3}
    assert config.rounds.count == 2
    assert resolve([config.to_dict()], registry) == config
    other = resolve([*layers, {"rounds": {"aggregation": "median"}}], registry)
    assert other.rounds.aggregation == {"name": "median"}
    # what changes nothing leaves no trace in what determines a run
    assert "aggregation" not in resolve([], registry).rounds.inputs()
    assert other.rounds.inputs("count")["aggregation"] == {"name": "median"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("crum", "rounds.aggregation: got 'crum'; unknown aggregation rule 'crum': did you mean 'krum'?"),
        ("krum:x", "rounds.aggregation: got 'krum:x'; krum expected a whole number after the colon"),
        ({"name": "trimmed-mean", "trim": 0}, "rounds.aggregation.trim: got 0; expected 1 or more"),
        ({"name": "median", "trim": 1}, "rounds.aggregation.trim: got 1; unknown option"),
        (["median"], "rounds.aggregation: got ['median']; expected a name, or a mapping with a name and options"),
        (3, "rounds.aggregation: got 3; expected a name, or a mapping with a name and options"),
    ],
)
def test_what_is_wrong_with_the_rule_of_rounds_is_one_line(registry: Registry, given: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([{"rounds": {"aggregation": given}}], registry)
    (problem,) = caught.value.problems
    assert str(problem).startswith(said), str(problem)
