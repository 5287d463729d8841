"""What a client has to load of the generator: the text encoder alone, or all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgl.contracts.generator import Footprint, SupportsFootprint
from fgl.core.wire.codecs import TEXT

if TYPE_CHECKING:
    from fgl.contracts.generator import Generator
    from fgl.core.config.schema import RunConfig
    from fgl.core.registry import Registry


def needs_generator(config: RunConfig, registry: Registry) -> bool:
    """Whether clients use the whole generator: the prompt strategy states it, or they adapt it."""
    return (
        config.adaptation.rounds > 0
        or "generator" in registry.find("prompt_strategy", config.prompt_strategy.name).component.client_needs
    )


def of_client(config: RunConfig, generator: Generator, registry: Registry) -> Footprint | None:
    """What each client loads, by the configuration; None where the generator does not tell. With the codec text it is
    nothing, unless the prompt strategy asks for more than it states."""
    if not isinstance(generator, SupportsFootprint):
        return None
    whole = needs_generator(config, registry)
    return Footprint((), 0, 0) if config.upload.codec == TEXT and not whole else generator.footprint(whole)
