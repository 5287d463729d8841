"""Tasks that the contract of federations has carried to clients: "fgl.testing.tasks:echo". Bytes in, bytes out."""

from __future__ import annotations

from fgl.contracts.boundary import is_simulated
from fgl.core.client import policy
from fgl.errors import ClientFailedError

CLEARED = "ValueError at the client"
SECRET = "ward-7/patient-0012.png"


def echo(payload: bytes) -> bytes:
    return payload[::-1]


def chatty(payload: bytes) -> bytes:
    """Prints, as libraries do."""
    print("loading the model", SECRET)
    return payload


def refuse(payload: bytes) -> bytes:
    """Fails with a message that the server may read."""
    raise ClientFailedError(CLEARED)


def crash(payload: bytes) -> bytes:
    """Fails with a message that names a client's file."""
    raise ValueError(f"cannot read {SECRET}")


def leave(payload: bytes) -> bytes:
    """Tries to end the process, as a plugin at the client might."""
    raise SystemExit(f"no more of {SECRET}")


def some_fail(payload: bytes) -> bytes:
    if payload == b"fail":
        raise ClientFailedError(CLEARED)
    return payload


def within_a_boundary(payload: bytes) -> bytes:
    """b"yes" where a task may answer: in a simulation, or under the policy of a site's owner."""
    return b"yes" if is_simulated() or policy.is_at_site() else b"no"
