"""Ask clients and judge their replies one at a time: the one loop of every call to clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgl.core.server.uploads import reply_of
from fgl.errors import UploadError

if TYPE_CHECKING:
    from fgl.contracts.federation import Federation
    from fgl.contracts.progress import Progress


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one call to clients took."""

    down: int
    """Bytes of all requests."""
    up: int
    """Bytes of all replies."""


def ask(
    federation: Federation,
    clients: Sequence[str],
    task: str,
    request: Callable[[str], bytes],
    accept: Callable[[str, bytes], None],
    refuse: Callable[[str, UploadError], None],
    progress: Progress,
) -> Traffic:
    """Send each client its request, and judge each reply as it comes.

    Args:
        federation: Carries the bytes.
        clients: Who is asked.
        task: What they are asked, one of those in `fgl.core.wire.requests`.
        request: Client → the bytes to send to it.
        accept: Called with a client and its reply; raises UploadError for one that cannot be used.
        refuse: Called with a client and that error, or ClientFailedError where it did not answer.
        progress: Shows who has answered.
    """
    down, up = 0, 0

    def payload(client_id: str) -> bytes:
        nonlocal down
        data = request(client_id)
        down += len(data)
        return data

    for client_id, reply in federation.call(clients, task, payload, progress):
        try:
            data = reply_of(reply)
            up += len(data)
            accept(client_id, data)
        except UploadError as error:
            refuse(client_id, error)
    return Traffic(down, up)
