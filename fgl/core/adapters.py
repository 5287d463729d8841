"""The adaptation of a configuration's generator, for whoever trains or averages it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgl.contracts.adaptation import SupportsAdaptation
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.contracts.adaptation import Adaptation
    from fgl.contracts.generator import Generator
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager


def adaptation_of(config: RunConfig, generator: Generator) -> Adaptation:
    """How the configuration adapts its generator. Raises ConfigError for one that cannot be adapted, ModelError for one
    that cannot be adapted so."""
    if not isinstance(generator, SupportsAdaptation):
        expected = "expected a generator that can be adapted (SupportsAdaptation in docs/plugins.md)"
        raise ConfigError([Problem("generator", repr(config.generator.name), expected)])
    adaptation = generator.adaptation(config.adaptation.spec())
    adaptation.check()
    return adaptation


def check_strategy(config: RunConfig, manager: PluginManager) -> None:
    """Raises ConfigError for a prompt strategy that sends arrays of its own, which are no captions."""
    name = config.prompt_strategy.name
    if "arrays" in manager.registry.find("prompt_strategy", name).component.provides:
        expected = "expected a strategy that writes texts: a generator learns from captions, not from arrays"
        raise ConfigError([Problem("prompt_strategy", repr(name), expected)])
