"""`fgl client keygen` and `fgl server keygen`: the pairs of keys by which files are signed and sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgl.commands._console import check_folder
from fgl.commands._options import Json, home
from fgl.commands._output import say, say_json

_Client = Annotated[
    Path,
    typer.Option("--out", metavar="NAME", callback=home, help="Writes NAME.key and NAME.pub; name it like the client."),
]
_Server = Annotated[Path, typer.Option("--out", metavar="NAME", callback=home, help="Writes NAME.key and NAME.pub.")]


def client_keygen_command(out: _Client = Path("client"), as_json: Json = False) -> None:
    """Make a key that signs what this client sends. The private one stays here; the server lists the public one."""
    from fgl.io import keys

    check_folder("--out", out.parent)
    private, public = keys.write_pair(out, *(pair := keys.client_pair()))
    if as_json:
        say_json({"private": str(private), "public": str(public), "key": pair[1]})
        return
    say(f"{private}: the private key, for its owner alone; it never leaves this machine, and nobody can restore it")
    say(f"{public}: the public key, for the server's configuration, under server.keys:")
    say(f"  {pair[1]}")


def server_keygen_command(out: _Server = Path("server"), as_json: Json = False) -> None:
    """Make a key that opens files which clients seal. The private one stays here; clients get the public one."""
    from fgl.io import keys

    check_folder("--out", out.parent)
    private, public = keys.write_pair(out, *(pair := keys.server_pair()))
    if as_json:
        say_json({"private": str(private), "public": str(public), "key": pair[1]})
        return
    say(f"{private}: the private key, for fgl server ingest --key; what is sealed to it cannot be read without it")
    say(f"{public}: the public key, for clients (--seal-to {public.name}); have them compare it by another channel:")
    say(f"  {pair[1]}")
