"""What the models hold that a component's options name: a result that rests on weights is stale when they change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.store.owned import file_digest
from fgl.errors import StoreError
from fgl.io import files

if TYPE_CHECKING:
    from fgl.core.config.schema import Selected
    from fgl.core.plugin_manager import PluginManager


def inputs_of(manager: PluginManager, family: str, selected: Selected) -> dict[str, object]:
    """For the inputs of a stage: the contents of the models that a component uses, by the name they have in its
    options. Of a folder that is the digest of its files, of a Hub model its commit. Empty where there are none."""
    from fgl import hub
    from fgl.hub import state

    found: dict[str, str | None] = {}
    for use in manager.options(family, selected).models():
        local = hub.is_local(use.model)
        found[use.model] = contents(Path(use.model).expanduser(), use.files) if local else state.commit(use)
    return {f"{family}_weights": found} if found else {}


def contents(folder: Path, patterns: Iterable[str]) -> str:
    """Digest over names and contents of the files in `folder` that match one of `patterns`, a model card apart.
    Raises StoreError where one cannot be read."""
    paths = {path for pattern in patterns for path in folder.glob("**/*" if pattern == "*" else pattern)}
    total = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file() and path.name != "README.md":
            total.update(f"{path.relative_to(folder).as_posix()} {_digest(path)}\n".encode())
    return total.hexdigest()


def _digest(path: Path) -> str:
    try:
        return files.digest(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def of_path(name: str) -> str:
    """Digest of a file that a client is to read, or of what all files of a folder hold. One that is not there is the
    client's to complain of."""
    home = Path(name).expanduser()
    if home.is_dir():
        return contents(home, ("*",))
    try:
        return file_digest(home)
    except StoreError:
        return ""
