"""Components by name, for plugins that build on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgl.core.config.resolve import selected
from fgl.core.plugin_manager import PluginManager

if TYPE_CHECKING:
    from fgl.contracts.options import Options


def create(family: str, name: str, /, **options: Any) -> Any:
    """Build an installed component, with its own defaults for the options that are not given.

    Args:
        family: Its family, as configurations name it, such as "aggregator" or "prompt_strategy".
        name: Its name.
        options: Values of its options, as a configuration file holds them.

    Raises ConfigError with every option that is wrong, or where there is no such component; PluginError where it cannot
    be loaded.
    """
    manager = PluginManager.load()
    return manager.create(family, selected(family, name, options, manager.registry))


def options_of(family: str, name: str, /, **options: Any) -> Options:
    """The checked options of a component, which is not imported: what its models and files are, for the options of a
    component that builds on it. Arguments and errors as those of `create`."""
    manager = PluginManager.load()
    return manager.options(family, selected(family, name, options, manager.registry))
