"""Keys and values of the release before are still taken, with one warning each that names the new one."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import yaml

from fgl.core.config.loader import set_option
from fgl.core.config.resolve import resolve
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Registry
from fgl.errors import ConfigError


@pytest.fixture(scope="module")
def registry() -> Registry:
    return PluginManager.load().registry


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("controls: all", "baselines: all", ["baselines"]),
        ("controls: none", "baselines: none", ["baselines"]),
        ("controls: [fedavg, local]", "baselines: [fedavg, local]", ["baselines"]),
        ("controls: [pooled, fedavg]", "baselines: [centralized, fedavg]", ["baselines", "centralized"]),
        ("controls: pooled", "baselines: centralized", ["baselines", "centralized"]),
        ("baselines: [pooled]", "baselines: [centralized]", ["centralized"]),
        ("baselines: {fedprox: {mu: 0.5}}", "baseline_options: {fedprox: {mu: 0.5}}", ["baseline_options"]),
        ("audit: {parts: [memorisation]}", "audit: {parts: [memorization]}", ["memorization"]),
        ("features: {neighbours: 3}", "features: {neighbors: 3}", ["features.neighbors"]),
        (
            "{controls: [fedavg], baselines: {fedprox: {mu: 0.5}}}",
            "{baselines: [fedavg], baseline_options: {fedprox: {mu: 0.5}}}",
            ["baselines", "baseline_options"],
        ),
    ],
)
def test_an_old_key_gives_the_same_configuration_and_one_warning(
    registry: Registry, caplog: pytest.LogCaptureFixture, old: str, new: str, named: list[str]
) -> None:
    wanted = resolve([yaml.safe_load(new)], registry)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert resolve([yaml.safe_load(old)], registry, "c.yaml") == wanted
    said = [record.getMessage() for record in caplog.records]
    assert sorted(text.split(" is called ")[1].split(" now;")[0] for text in said) == sorted(named)
    assert all(text.startswith(("c.yaml: ", "the configuration: ")) for text in said)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("controls=[pooled]", "baselines=[centralized]"),
        ("baselines.fedprox.mu=0.5", "baseline_options.fedprox.mu=0.5"),
    ],
)
def test_an_old_key_in_an_assignment_is_the_new_one(registry: Registry, old: str, new: str) -> None:
    layers: list[dict[str, Any]] = [{}, {}]
    for layer, assignment in zip(layers, (old, new), strict=True):
        set_option(layer, assignment)
    assert resolve(layers[:1], registry) == resolve(layers[1:], registry)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"controls": "none", "baselines": ["fedavg"]}, ("controls", "baselines")),
        ({"features": {"neighbours": 3, "neighbors": 4}}, ("features.neighbours", "features.neighbors")),
        ({"baselines": {"fedprox": {}}, "baseline_options": {}}, ("baselines", "baseline_options")),
    ],
)
def test_an_old_key_beside_the_new_one_is_refused(
    registry: Registry, given: dict[str, Any], named: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve([given], registry)
    (problem,) = caught.value.problems
    assert all(name in problem.key for name in named)


def test_a_later_layer_may_use_the_other_name(registry: Registry) -> None:
    assert resolve([{"controls": "all"}, {"baselines": ["fedavg"]}], registry).baselines == ("fedavg",)
