"""The section `server`: from whom the server of a run takes files. No result depends on it, only who is heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from fgl.contracts.dataset import CLIENT_ID
from fgl.contracts.options import Options
from fgl.errors import Problem
from fgl.io import keys

SERVER = "server"


def _checked(text: str) -> str:
    keys.public_key(text)
    return text


PublicKey = Annotated[str, AfterValidator(_checked)]
_Client = Annotated[str, StringConstraints(pattern=f"^{CLIENT_ID}$")]


class ServerOptions(Options):
    """From whom the server takes files that are handed over."""

    keys: dict[_Client, list[PublicKey]] = Field(
        default_factory=dict,
        description="client id → its public keys (fgl client keygen), several while one is replaced; where any is "
        "listed, unsigned files and those of other keys are refused",
    )
    approvers: dict[_Client, list[PublicKey]] = Field(
        default_factory=dict,
        description="client id → public keys of those who approve what it sends; of a client that is not listed, its "
        "own keys count",
    )
    revoked: list[PublicKey] = Field(
        default_factory=list, description="public keys that are no longer taken, whoever lists them"
    )
    approved_only: bool = Field(
        False, description="take only files that somebody at the client has reviewed and approved (fgl client approve)"
    )

    @field_validator("keys", "approvers", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """A single key needs no list."""
        if not isinstance(value, Mapping):
            return value
        return {name: [given] if isinstance(given, str) else given for name, given in value.items()}

    def trusted(self, client_id: str) -> list[str]:
        """Keys with which a client may sign."""
        return [key for key in self.keys.get(client_id, []) if key not in self.revoked]

    def approving(self, client_id: str) -> list[str]:
        """Keys with which files of a client may be approved."""
        listed = self.approvers[client_id] if client_id in self.approvers else self.keys.get(client_id, [])
        return [key for key in listed if key not in self.revoked]

    def inputs(self) -> dict[str, Any]:
        """What determines whose files count; nothing where no keys are listed, so that earlier runs stay as they
        are."""
        return {SERVER: self.model_dump(mode="json")} if self.keys else {}


def problems(options: ServerOptions, upload: Any) -> Iterator[Problem]:
    """What does not fit beside the section `upload`."""
    key = f"{SERVER}.keys"
    if options.keys and not upload.run_id:
        expected = "expected an id of this run beside them: without one, a signature for another run is one for this"
        yield Problem("upload.run_id", "''", expected)
    for name in ("keys", "approvers"):
        known = upload.clients
        strangers = sorted(set(getattr(options, name)) - set(known)) if known is not None else []
        if strangers:
            expected = f"expected clients of upload.clients ({', '.join((known or [])[:10])})"
            yield Problem(f"{SERVER}.{name}", ", ".join(strangers[:5]), expected)
    if not options.keys and (options.approved_only or options.approvers):
        yield Problem(key, "none", "expected the clients' public keys: an approval counts for a file that is signed")
    holders: dict[str, str] = {}
    for client_id, listed in options.keys.items():
        for one in listed:
            if holders.setdefault(one, client_id) != client_id:
                expected = f"expected a key of its own for each client; {holders[one]} has the same"
                yield Problem(f"{key}.{client_id}", one, expected)
