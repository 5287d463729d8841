"""`fgl config show`: the configuration that a command would run with."""

from __future__ import annotations

from fgl.commands._config import resolve
from fgl.commands._options import ConfigFlags, Json, config_flags
from fgl.commands._output import say_json, say_text
from fgl.core.plugin_manager import PluginManager


@config_flags()
def config_show(flags: ConfigFlags, *, as_json: Json = False) -> None:
    """Print the configuration that `fgl run` with the same arguments would use, as YAML."""
    resolved, _ = resolve(PluginManager.load(), flags)
    if as_json:
        say_json({"config": resolved.to_dict()})
    else:
        say_text(resolved.to_yaml().rstrip("\n"))
