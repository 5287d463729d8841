"""What a method sets lies directly below the layer that selects it; in a comparison it wins."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fgl.contracts.component import Component
from fgl.contracts.method import SECTIONS
from fgl.contracts.options import Options
from fgl.core.config.defaults import DEFAULTS
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Entry, Registry
from fgl.errors import BrokenPluginError, ConfigError


class MeanOptions(Options):
    count: int = 2


class Mean:
    def __init__(self, options: MeanOptions) -> None:
        self.options = options

    def configuration(self) -> Mapping[str, object]:
        return {
            "prompt_strategy": {"name": "attributes"},
            "aggregator": {"name": "class-mean", "per_client": True},
            "rounds": {"count": self.options.count},
        }


def registry_with(**methods: type) -> Registry:
    registry = PluginManager.load().registry
    for name, target in methods.items():
        options = MeanOptions if target is Mean else None
        registry.add(Entry("method", Component(name=name, target=target, options=options), "rivals", "fgl-rivals"))
    return registry


def returning(value: object) -> type:
    class Fixed:
        def configuration(self) -> object:
            return value

    return Fixed


def problems(registry: Registry, *layers: Mapping[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(layers, registry)
    return [f"{one.key}: {one.got} {one.expected}" for one in caught.value.problems]


def test_a_method_sets_what_the_user_does_not() -> None:
    config = resolve([{"method": "mean", "rounds": {"local_epochs": 3}}], registry_with(mean=Mean))
    assert (config.method.name, config.prompt_strategy.name, config.aggregator.name) == (
        "mean",
        "attributes",
        "class-mean",
    )
    assert (config.rounds.count, config.rounds.local_epochs) == (2, 3)


def test_what_stands_beside_the_selection_wins_and_so_does_what_comes_later() -> None:
    given = [{"method": {"name": "mean", "count": 4}, "aggregator": "union"}, {"rounds": {"count": 7}}]
    config = resolve(given, registry_with(mean=Mean))
    assert (config.aggregator.name, config.aggregator.options.get("per_client")) == ("union", None)
    assert (config.rounds.count, config.method.options) == (7, {"count": 4})


def test_a_method_wins_over_layers_below_its_selection_such_as_presets_and_files() -> None:
    below = {"prompt_strategy": {"name": "domain"}, "classifier": {"name": "resnet18"}, "method": "fgl-rounds"}
    config = resolve([below, {"method": "mean"}], registry_with(mean=Mean))
    assert (config.prompt_strategy.name, config.classifier.name) == ("attributes", "resnet18")
    assert (config.rounds.count, config.rounds.server_epochs) == (2, 0)


def test_what_is_saved_resolves_to_the_same_again() -> None:
    registry = registry_with(mean=Mean)
    config = resolve([{"method": "mean", "aggregator": {"per_client": False}}], registry)
    assert resolve([config.to_dict()], registry) == config


def test_in_a_comparison_what_the_method_sets_wins_and_the_rest_is_shared() -> None:
    shared = [
        {"prompt_strategy": {"name": "class-name"}, "synthesis": {"images_per_class": 9}},
        {"aggregator": {"name": "class-mean", "per_domain": True}, "baseline_options": {"mean": {"count": 1}}},
    ]
    config = resolve(shared, registry_with(mean=Mean), method="mean")
    assert (config.prompt_strategy.name, config.synthesis.images_per_class, config.rounds.count) == ("attributes", 9, 1)
    assert config.aggregator.options == {**config.aggregator.options, "per_client": True, "per_domain": True}


def test_options_of_a_component_that_the_method_replaces_are_not_for_it() -> None:
    steps = [{"generator": {"num_inference_steps": 4}, "classifier": {"epochs": 3}}]  # of tiny and small
    assert resolve(steps, registry_with(), method="analytic").generator.name == "moments"
    shared = [{"prompt_strategy": {"template": "{label}"}}]  # of the default strategy, class-name
    assert resolve(shared, registry_with(mean=Mean), method="mean").prompt_strategy.name == "attributes"


def test_options_of_a_method_are_checked_where_they_are_given() -> None:
    registry = registry_with(mean=Mean)
    assert problems(registry, {"method": {"name": "mean", "cuont": 1}}) == [
        "method.cuont: 1 unknown option: did you mean 'count'? (known: count)"
    ]
    given = problems(registry, {"baseline_options": {"mean": {"count": "many"}}})
    assert len(given) == 1
    assert given[0].startswith("baseline_options.mean.count: ")


def test_an_unknown_method_is_one_problem() -> None:
    given = problems(registry_with(mean=Mean), {"method": "maen"})
    assert len(given) == 1
    assert "did you mean 'mean'?" in given[0]


def test_an_unknown_name_among_options_of_methods_and_algorithms_may_have_meant_either() -> None:
    def said(name: object) -> str:
        (problem,) = problems(registry_with(mean=Mean), {"baseline_options": {name: {"mu": 1}}})
        assert problem.startswith(f"baseline_options.{name}: ")
        assert "neither a method nor a federated algorithm" in problem
        return problem

    assert "did you mean the method 'mean'? (installed methods: " in said("maen")
    assert "did you mean the method 'fedpft' or the algorithm 'fedprox'? (installed methods: " in said("fedpf")
    for name in ("nothing-like-it", 7):
        assert "did you mean" not in said(name)
        assert "; algorithms: " in said(name)


def test_a_part_that_is_not_installed_is_the_methods_problem() -> None:
    registry = registry_with(odd=returning({"generator": {"name": "imagined"}, "classifier": 7}))
    given = problems(registry, {"method": "odd"})
    assert [one.split(":")[0] for one in given] == ["method", "method"]
    assert "unknown generator 'imagined'" in given[0]
    assert "expected a name, or a mapping of options" in given[1]


def test_local_options_of_the_shared_classifier_are_not_for_one_that_a_method_brings() -> None:
    shared = [{"rounds": {"local": {"lr": 0.001}, "local_epochs": 2}}]
    own = resolve(shared, registry_with(), method="analytic")
    assert (own.rounds.local, own.rounds.local_epochs) == ({}, 2)
    assert resolve(shared, registry_with(mean=Mean), method="mean").rounds.local == {"lr": 0.001}


def test_options_without_a_name_are_for_whichever_component_is_selected() -> None:
    registry = registry_with(loose=returning({"classifier": {"epochs": 3}}))
    assert resolve([{"method": "loose"}], registry).classifier.options["epochs"] == 3
    chosen = resolve([{"method": "loose", "classifier": "resnet18"}], registry).classifier
    assert (chosen.name, chosen.options["epochs"]) == ("resnet18", 3)
    compared = resolve([{"classifier": {"name": "resnet18", "epochs": 9}}], registry, method="loose").classifier
    assert (compared.name, compared.options["epochs"]) == ("resnet18", 3)


@pytest.mark.parametrize("value", [None, ["rounds"], {"dataset": {"name": "bundled"}}, {"seed": 3}, {1: 2}])
def test_what_no_method_may_set_names_the_method(value: object) -> None:
    with pytest.raises(BrokenPluginError, match="method 'odd'"):
        resolve([{"method": "odd"}], registry_with(odd=returning(value)))


def test_a_method_that_raises_is_named() -> None:
    class Raises:
        def configuration(self) -> object:
            raise KeyError("nothing here")

    with pytest.raises(BrokenPluginError, match=r"'odd' of fgl-rivals: Method.configuration\(\) raised KeyError"):
        resolve([{"method": "odd"}], registry_with(odd=Raises))


def test_what_a_method_may_set_are_keys_of_a_configuration() -> None:
    assert set(SECTIONS) <= set(DEFAULTS)
    assert not {"dataset", "partition", "seed", "device", "federation", "executor", "method"} & set(SECTIONS)
