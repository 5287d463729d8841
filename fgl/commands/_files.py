"""A file of a client's that exists already: `fgl client show`, `review` and `approve` look at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.plugin_manager import PluginManager
from fgl.errors import StoreError, UploadError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.codec import Codec


def read(file: Path, most: int) -> bytes:
    """Raises StoreError or UploadSizeError."""
    from fgl.errors import UploadSizeError
    from fgl.io.files import open_regular
    from fgl.text import plain

    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > most:
                raise UploadSizeError(f"refused: a file of {size} bytes; no upload is larger than {most}")
            return opened.read(most + 1)
    except OSError as error:
        raise StoreError(
            f"cannot read {plain(file)}: {error.strerror or error}; expected the path of an upload"
        ) from error


def codecs_of(data: bytes) -> dict[str, Codec]:
    """The codecs in which a file can be read here: the built-in ones, and its own where that is installed."""
    from fgl.core.wire import codecs, upload_reader

    registry = PluginManager.load().registry
    try:
        name = upload_reader.opened(data)[0].codec
    except UploadError:  # no upload: whoever reads it says so
        name = ""
    return codecs.table(registry, name if name in registry.names("codec") else "")


def known_names(private: Path) -> list[str] | None:
    """Class names that a client stored beside its upload; whether the upload has this list is checked later."""
    from fgl.io.files import read_text

    try:
        names = strict_json.loads(read_text(private / "summary.json"))["class_names"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
