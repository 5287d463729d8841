"""Files that clients hand over: `fgl server ingest` and `fgl server probe` open them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgl.commands._options import home

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

UnsealKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", callback=home, help="The server's private key, for files that are sealed."),
]


def identity_of(key: Path | None) -> Identity | None:
    """The private key, None where none is given. Raises ConfigError and StoreError."""
    from fgl.io import keys

    return None if key is None else keys.server_identity(key)
