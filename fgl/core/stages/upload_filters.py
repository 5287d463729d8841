"""What upload filters say of themselves. The server only asks for them: they run at the clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgl.errors import BrokenPluginError, FGLError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.store.typed import JsonObject


def described(config: RunConfig, manager: PluginManager) -> list[JsonObject]:
    """The chain as report.json holds it. Builds each filter, so that one which cannot be built is an error before any
    client works. Raises BrokenPluginError where a filter has no account of itself."""
    summaries = []
    for selected in config.upload.chain():
        entry = manager.registry.find("upload_filter", selected.name)
        filter_ = manager.create("upload_filter", selected)
        try:
            does = filter_.describe()
            if not isinstance(does, Mapping):
                raise TypeError(f"it is {type(does).__name__}, expected a mapping")
            does = strict_json.loads(strict_json.dumps(strict_json.finite(dict(does))))
        except FGLError:
            raise
        except (Exception, SystemExit) as error:
            raise BrokenPluginError(f"{entry.title}: describe() failed: {type(error).__name__}: {error}") from error
        summaries.append({"name": selected.name, "distribution": entry.distribution, "does": does})
    return summaries
