"""The configuration of a run directory: saved with a seal, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fgl.core.config.loader import read_yaml
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import RunConfig
from fgl.core.plugin_manager import PluginManager
from fgl.core.store import folder_kind
from fgl.core.store.run_dir import RunDir
from fgl.errors import StoreError


def load_config(
    config: RunConfig | Mapping[str, object] | str | Path | None, manager: PluginManager, method: str | None = None
) -> RunConfig:
    """A configuration in any of the forms that the Python interface takes. method: see `resolve`."""
    if isinstance(config, RunConfig):
        return config if method is None else resolve([config.to_dict()], manager.registry, method=method)
    if isinstance(config, str | Path):
        return resolve([read_yaml(Path(config))], manager.registry, str(config), method=method)
    return resolve([config or {}], manager.registry, method=method)


def save_config(run: RunDir, config: RunConfig, remote_clients: bool = False) -> None:
    """remote_clients: whether the clients are elsewhere."""
    text = f"{folder_kind.REMOTE_LINE if remote_clients else ''}{config.to_yaml()}"
    run.write(
        run.path("config.yaml"), f"{text}{folder_kind.SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n".encode()
    )


def saved_config(run: RunDir, manager: PluginManager) -> RunConfig:
    """The configuration of a run directory. Raises StoreError where there is none, or where it is not what was written:
    what a run is gone on with must be what it was begun with."""
    folder_kind.refuse_outdated(run.root)
    path = run.path("config.yaml")
    try:
        text = folder_kind.sealed_text(run.root)
    except (OSError, UnicodeDecodeError) as error:
        runs = sorted(one.name for one in run.root.glob("seed-*") if (one / "config.yaml").is_file())
        if runs:  # of fgl compare
            raise StoreError(f"{run.root} is not a run directory, but these in it are: {', '.join(runs)}") from error
        raise StoreError(f"{run.root} is not a run directory: {path} cannot be read") from error
    if text is None:
        again = f"to run a changed configuration, pass it: fgl run {path} --out {run.root}"
        if folder_kind.has_remote_clients(run):
            again = f"delete it, and give the configuration again: fgl server ingest {run.root} FILES --config FILE"
        raise StoreError(f"{path} is not what fgl wrote; {again}")
    if not folder_kind.is_begun(run.root):
        raise StoreError(
            f"{run.root} is not a run directory: {path} is a copy of a run's, and nothing else of that run is there; "
            f"to begin a run by it, choose another folder: fgl run {path} --out NEW"
        )
    return resolve([read_yaml(path)], manager.registry, str(path))
