"""What `fgl quality` and `fgl audit` share: a finished run, opened to be measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fgl.commands._config import resolve
from fgl.commands._console import interruptible, shown, stdout_to_stderr
from fgl.errors import COMMAND_LINE, ConfigError, Problem

if TYPE_CHECKING:
    from fgl.commands._options import ConfigFlags
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir


def measuring_config(
    manager: PluginManager,
    saved: RunConfig,
    section: str,
    values: dict[str, Any],
    features: str | None,
    flags: ConfigFlags,
) -> RunConfig:
    """The run's own configuration with what says how to measure.

    Args:
        manager: What is installed.
        saved: The configuration of the run.
        section: Its section about this measurement.
        values: What the command's own options say of that section.
        features: What --features says.
        flags: --set and --device.

    Raises ConfigError where anything else would change: that would be another run."""
    from fgl.core.config.loader import expand

    layer: dict[str, Any] = {section: values}
    if features is not None:
        layer["features"] = expand("features", features)
    resolved, _ = resolve(manager, flags, [saved.to_dict(), layer])
    free = ("features", section, "device")
    same = resolved.model_copy(update={name: getattr(saved, name) for name in free})
    if same != saved:
        before = saved.to_dict()
        keys = [key for key, value in same.to_dict().items() if value != before[key]]
        expected = f"features.… and {section}.… alone; a changed run is made with fgl run"
        raise ConfigError([Problem("--set", ", ".join(keys), expected)], COMMAND_LINE)
    return resolved


@contextmanager
def finished_run(
    config: RunConfig, manager: PluginManager, run: RunDir, command: str, quiet: bool
) -> Iterator[Session]:
    """A session of a run that exists, locked while it is measured. command: the one to repeat after an interruption."""
    from fgl.core.preflight import open_session
    from fgl.core.store.folder_kind import has_remote_clients

    with stdout_to_stderr(), interruptible(run.root, command), shown(quiet) as progress, run.lock():
        yield open_session(config, manager, run, progress, remote_clients=has_remote_clients(run))
